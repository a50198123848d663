from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from data.line_rules import distinct_lines, keep_lines, line_hash
from data.urls import url_hash

TEXTS = st.lists(
    st.lists(
        st.sampled_from(["Home", "home ", "HABARI", "habari", "Ἀθῆναι", "", "x"]), min_size=1
    ).map("\n".join),
    max_size=6,
)


def test_lines_are_equal_without_case_and_margins():
    assert line_hash(" Ἀθῆναι\t") == line_hash("ἀθῆναι")
    assert line_hash("a b") != line_hash("a  b")


def test_the_first_of_equal_lines_stays_as_it_was_written():
    text = "Home\nhome\nHabari za leo\nHOME"
    assert keep_lines(text, distinct_lines(text)) == "Home\nHabari za leo"
    assert keep_lines(text, []) == ""


@given(TEXTS)
def test_every_line_survives_in_exactly_one_page_once(texts):
    pages = {f"http://{number}.example/": text for number, text in enumerate(texts)}
    owner: dict[bytes, str] = {}
    for url in sorted(pages, key=url_hash):
        for line in distinct_lines(pages[url]):
            owner.setdefault(line, url)
    left = [
        keep_lines(text, [line for line in owner if owner[line] == url])
        for url, text in pages.items()
    ]
    survived = Counter(line_hash(line) for text in left if text for line in text.split("\n"))
    blank = {line_hash("")}  # a page of one blank line is empty text, and rejected
    assert set(survived) | blank == set(owner) | blank
    assert set(survived.values()) <= {1}
