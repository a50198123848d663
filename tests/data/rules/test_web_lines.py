"""Line rules of every script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import scripts
from data.reading.page import Page
from data.rules import web_lines
from data.rules.web_lines import clean, ends_a_sentence, measure

# One sentence each of the Universal Declaration's first article, as typed in its language.
SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "ur": "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔",
    "zh": "人人生而自由，在尊严和权利上一律平等。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "am": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
    "km": "មនុស្សទាំងអស់កើតមកមានសេរីភាពនិងភាពស្មើៗគ្នាក្នុងសិទ្ធិនិងសេចក្ដីថ្លៃថ្នូរ។",
    "my": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ မွေးဖွားလာသူများ ဖြစ်သည်။",
    "th": "มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ",
    "lo": "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ ສິດທິ ເສລີພາບແລະຄວາມສະເໝີພາບເທົ່າທຽມກັນ",
    "hy": "Բոլոր մարդիկ ծնվում են ազատ ու հավասար իրենց արժանապատվությամբ ու իրավունքներով։",
    "el": "Γεννιούνται όλοι οι άνθρωποι ελεύθεροι και ίσοι;",
}
ENDS = [
    *SENTENCES.values(), "He said “yes”", "(これは文です。）", "Er sagte: „Ja.“", "Le mot « oui »",
    "Ինչ է:",  # a colon typed for the Armenian full stop
    "եւ նրանց»:", "Τι είναι;", "ሰላም ነው፡፡", "ሰላም ነው ::", "བོད་ཡིག།", "וַיְהִי־אֽוֹר׃",
    "Wong iku lair mardika.\u200b",
]  # fmt: skip
NO_ENDS = [
    "Home", "Home | News | Contact us today", "और पढ़ें...", "阅读更多…", "もっと読む", "المزيد",
    "더 보기", "don't stop the rock 'n'", "ok:", "let a = b;", "wait...", "続きを読む。。。",
    "阅读更多⋯", "",
]  # fmt: skip


def page(text: str) -> Page:
    return Page("a.example", text)


@pytest.mark.parametrize("ends", [True, False])
def test_end_marks_are_those_of_each_script(ends):
    lines = ENDS if ends else NO_ENDS
    assert [line for line in lines if ends_a_sentence(line) is not ends] == []


def test_sentences_of_every_script_stay_and_menus_go():
    assert clean("\n".join([*SENTENCES.values(), *NO_ENDS])).text == "\n".join(SENTENCES.values())
    assert clean("\n".join(NO_ENDS)).reason == "no_sentences"


def test_the_first_test_that_a_line_fails_counts():
    lines = {
        "line_of_few_words": "Too few words.",
        "line_with_long_word": "x" * 1001 + " is a very long word, indeed.",
        "line_about_javascript": "Please enable JavaScript to see this page.",
        "line_without_end_mark": "Home | News | Contact us today",
    }
    found = clean("\n".join([SENTENCES["en"] + "[12]", *lines.values()]))
    assert found == (SENTENCES["en"], dict.fromkeys(lines, 1), None)
    assert clean("Lorem ipsum dolor sit amet consectetur.").reason == "lorem_ipsum"
    assert clean("人人生而自由" * 400 + "。").reason is None  # no long word


@pytest.mark.parametrize(
    "character, needed", [("a", 200), ("中", 67), ("か", 134), ("한", 100), ("ሀ", 134), ("ก", 200)]
)
def test_lines_are_weighted_by_script(character, needed):
    enough, less = (page("\n".join([character * n] * 3)) for n in (needed, needed - 1))
    assert web_lines.too_few_long_lines(enough, lines=3, characters=200) is None
    assert web_lines.too_few_long_lines(less, lines=3, characters=200) == "too_few_long_lines"
    left = web_lines.too_few_long_lines_left(less, lines=3, characters=200)
    assert left == "too_few_long_lines_left"


@given(st.text(alphabet=st.sampled_from("ab 中かก한.\n"), max_size=60))
def test_measures_line_by_line(text):
    weight = {"中": 6, "か": 3, "한": 4}
    measured = measure(text)
    lines = text.split("\n")
    assert measured.half_characters.tolist() == [
        sum(weight.get(character, scripts.HALVES) for character in line) for line in lines
    ]
    for line, words in zip(lines, measured.words, strict=True):
        spaced = "".join(" " if c in "中かก." else c for c in line).split()
        unspaced = sum(weight.get(c, 2) for c in line if c in "中かก")
        assert words == len(spaced) + unspaced // 12


@given(st.text(max_size=200))
def test_any_text_keeps_lines_in_order_and_counts_the_others(text):
    cleaned = clean(text)
    kept = cleaned.text.split("\n") if cleaned.text else []
    stripped = iter(line.strip() for line in web_lines.CITATION.sub("", text).split("\n"))
    if cleaned.reason != "lorem_ipsum":
        assert all(line in stripped for line in kept)  # a subsequence
        assert len(kept) + cleaned.removed.total() == text.count("\n") + 1


def test_long_words_are_looked_for_where_words_begin():
    """From each letter, 190 words of 1,000 would take 200 million steps."""
    longest = "a" * web_lines.LONGEST_WORD_CHARACTERS
    text = " ".join([longest] * 190)
    assert web_lines.LONG_WORD.search(text) is None
    found = web_lines.LONG_WORD.search(f"{text} {longest}b")
    assert found is not None
    assert found.start() == len(text) + 1
    assert web_lines.LONG_WORD.search(f"中{longest}b") is not None
