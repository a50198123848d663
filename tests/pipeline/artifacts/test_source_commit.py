import json

from pipeline.artifacts import source_commit


class Installed:
    def __init__(self, direct_url: dict[str, object] | None):
        self.direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"  # PEP 610
        return None if self.direct_url is None else json.dumps(self.direct_url)


def test_an_installed_wheel_is_named_by_its_digest(monkeypatch, tmp_path):
    monkeypatch.setattr(source_commit, "CHECKOUT", tmp_path)

    def code(direct_url: dict[str, object] | None) -> str | None:
        monkeypatch.setattr(
            source_commit.metadata, "distribution", lambda name: Installed(direct_url)
        )
        return source_commit.source_commit()

    wheel = {"url": "file:///a.whl", "archive_info": {"hashes": {"sha256": "ab12"}}}
    assert code(wheel) == "wheel sha256:ab12"
    assert code({"url": "file:///checkout", "dir_info": {"editable": True}}) is None
    assert code(None) is None  # from an index, whose version identifies it
