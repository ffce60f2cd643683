"""The documents say what the code does: settings reference, examples, map."""

import doctest
import re
import tomllib
from pathlib import Path

import pytest
import trustme

from apps.gateway.config import load_settings
from apps.gateway.config_model import Gateway
from apps.reference import reference, replaced

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/apps/**/*.md")])


def examples() -> list[pytest.param]:
    return [
        pytest.param(text, id=f"{document.name}-{number}")
        for document in DOCUMENTS
        for number, text in enumerate(
            re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
        )
    ]


def test_there_are_examples() -> None:
    assert len(examples()) >= 3


def write_certificates(folder: Path, text: str) -> None:
    """The files an example names: NAME.pem and NAME.key."""
    for stem in set(re.findall(r"([\w-]+)\.(?:pem|key)\b", text)):
        made = trustme.CA().issue_cert(f"{stem}.example")
        (folder / f"{stem}.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(folder / f"{stem}.key")


@pytest.mark.parametrize("text", examples())
def test_an_example_is_a_valid_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_certificates(tmp_path, text)
    assert [str(problem) for problem in load_settings("example.yaml", text=text, environ={}).problems] == []


def sessions(document: Path) -> str:
    """The Python examples of a page, one after the other: one session, as a reader would type it."""
    return "\n".join(re.findall(r"^```pycon\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if sessions(d)], ids=lambda path: path.name)
def test_what_is_typed_answers_as_shown(document: Path) -> None:
    session = doctest.DocTestParser().get_doctest(sessions(document), {}, document.name, str(document), 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(session, out=said.append).failed == 0, "".join(said)


def test_the_settings_reference_is_current() -> None:
    document = (ROOT / "docs/gateway/configuration.md").read_text()
    assert replaced(document, reference(Gateway)) == document, (
        "run: python -m apps.reference docs/gateway/configuration.md"
    )


def test_every_key_has_a_meaning() -> None:
    for line in reference(Gateway).splitlines():
        if line.startswith("| `"):
            assert len(line.split("|")[-2].strip()) > 10, line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_each_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(one for group in project["project"]["optional-dependencies"].values() for one in group),
    ]
    reasons = (ROOT / "docs/dependencies.md").read_text()
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        assert re.search(rf"^\|[^|]*\b{re.escape(name)}\b", reasons, re.MULTILINE), f"{name} has no reason"


def test_make_help_explains_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    assert phony == set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
