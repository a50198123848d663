"""The summary of the language identifier's probabilities, against counts made by hand."""

from data.corpus_manifest import CorpusManifest
from data.files.json_files import of_shape
from data.languages import all_languages
from eval import language_probability
from eval.funnel import Funnel, funnel


def corpus(histograms: dict[str, dict[str, int]], rules: str = "mc4") -> Funnel:
    languages = {
        code: {"kept": sum(steps.values()), "confidence": steps}
        for code, steps in histograms.items()
    }
    return funnel(
        of_shape({"rules": {"name": rules}, "languages": languages}, CorpusManifest, "here"), {}
    )


def test_languages_from_least_to_most_certain():
    rows = language_probability.rows(
        corpus(
            {
                "en": {"0.95": 9},
                "sw": {"0.90": 1, "0.95": 1},
                "yo": {"0.00": 1, "0.95": 1},
                "ig": {"0.90": 3},
                "xh": {},
            }
        )
    )
    assert [row.code for row in rows] == ["ig", "yo", "sw", "en"]
    assert [language_probability.certain_share(row) for row in rows] == [0, 0.5, 0.5, 1]


def test_the_sentence_counts_medians_of_languages_only():
    found = language_probability.sentence(
        corpus(
            {
                "en": {"0.90": 499, "0.95": 501},
                "sw": {"0.90": 501, "0.95": 1499},
                "yo": {"0.00": 3, "0.95": 2},
                "ru": {"0.30": 700, "0.95": 700},
                "ru-Latn": {"0.50": 1},
                "und": {"0.20": 50},
            }
        )
    )
    assert found == (
        "In 2 of 4 languages the identifier gives the median kept page a probability below "
        "0.95: Russian (1,400 pages) and Yoruba (5). So it does in the script "
        "variants Russian (Latin) (1 page)."
    )
    assert language_probability.sentence(corpus({"en": {"0.95": 1}})) == (
        "In 0 of 1 languages the identifier gives the median kept page a probability below 0.95."
    )


def test_the_sentence_names_a_dozen_and_counts_the_rest():
    some = [one.code for one in all_languages() if not one.is_script_variant][:30]
    found = language_probability.sentence(corpus({code: {"0.50": 1} for code in some}))
    assert found.startswith("In 30 of 30 languages")
    assert found.endswith(" and 18 more.")


def test_without_an_identifier_no_probability_is_shown():
    made = corpus({"sw": {"0.00": 9}, "und": {"0.00": 2}}, rules="none")
    assert language_probability.rows(made) == ()
    assert language_probability.sentence(made) == (
        "Languages are as declared; no identifier was asked."
    )


def test_a_corpus_of_undetermined_language_has_no_count_of_languages():
    found = language_probability.sentence(corpus({"und": {"0.40": 3}}))
    assert found == "The identifier is sure of no kept page's language."
