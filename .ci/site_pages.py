"""Pages of the documentation site that no file of docs/ holds; a hook of mkdocs (mkdocs.yml).

* README.md, CONTRIBUTING.md, CHANGELOG.md and SECURITY.md, with links turned to the site's pages.
* One page of API reference per folder of the four packages, written from docstrings. Sources are
  parsed, never imported, so the site needs none of JAX, Beam or TensorFlow.
* The navigation of these pages and of the decisions, in the order of docs/decisions/README.md.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGES = ("pipeline", "eval", "model", "data")
AT_THE_TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the two entries of the navigation that end in a slash."""
    table = Path("docs/decisions/README.md").read_text(encoding="utf-8")
    decisions = ["README.md", *re.findall(r"^\| \[.*?\]\((.*?\.md)\)", table, re.MULTILINE)]
    filled = {
        "decisions/": [f"decisions/{name}" for name in decisions],
        "reference/": [{str(folder): reference_page(folder)} for folder in folders()],
    }
    for entry in config.nav or ():
        for title, content in entry.items():
            entry[title] = filled.get(content, content) if isinstance(content, str) else content
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for source, page in AT_THE_TOP.items():
        text = re.sub(
            r"\]\(([^)#:]+)(#[^)]*)?\)", _on_the_site, Path(source).read_text(encoding="utf-8")
        )
        files.append(File.generated(config, page, content=text))
    for folder in folders():
        modules = (path for path in sorted(folder.glob("*.py")) if path.stem != "__init__")
        names = [folder, *(path.with_suffix("") for path in modules)]
        blocks = (f"::: {'.'.join(name.parts)}" for name in names)
        text = f"# {'.'.join(folder.parts)}\n\n" + "\n\n".join(blocks) + "\n"
        files.append(File.generated(config, reference_page(folder), content=text))
    return files


def folders() -> list[Path]:
    """Returns every folder of the packages that holds modules, parents before children."""
    return sorted(
        path.parent for package in PACKAGES for path in Path(package).rglob("__init__.py")
    )


def reference_page(folder: Path) -> str:
    """Returns the page of a folder's reference."""
    return f"reference/{'.'.join(folder.parts)}.md"


def _on_the_site(link: re.Match[str]) -> str:
    """Returns a link of a document at the top as a link of the site."""
    target, anchor = link.group(1), link.group(2) or ""
    if target.endswith(".py"):
        return f"]({reference_page(Path(target).parent)})"
    return f"]({AT_THE_TOP.get(target, target.removeprefix('docs/'))}{anchor})"
