from data.rules import sentences


def test_abbreviations_end_no_sentence_and_nothing_is_remembered():
    assert sentences.count("Dr. Smith met Mrs. Jones at 5 p.m. on Friday. They talked.") == 2
    context = sentences._tokenizer()._params.ortho_context
    before = len(context)
    assert not sentences.are_fewer_than(2, "Zyxxle. Then qwortz zyxxle. Wuffle gromp.")
    assert len(context) == before
