"""Which subjects paths and tables lead to, and what is told of those that lead to none."""

import json

import pytest

from nerfstudio_avatars.avatars.fleet.subjects import Subject, find_subjects
from nerfstudio_avatars.errors import UserError


@pytest.fixture
def people(tmp_path):
    """Two subjects as PeopleSnapshot has them, a broken one, a video and notes."""
    for name in ("anna", "bert"):
        (tmp_path / "people" / name).mkdir(parents=True)
        for file in ("camera.pkl", "reconstructed_poses.hdf5", "masks.hdf5", f"{name}.mp4"):
            (tmp_path / "people" / name / file).touch()
    (tmp_path / "people" / "broken").mkdir()
    (tmp_path / "people" / "cleo.MP4").touch()
    (tmp_path / "people" / "notes.txt").touch()
    return tmp_path / "people"


def test_a_folder_of_people_holds_all_of_them_and_the_broken_one(people):
    found = find_subjects([people])
    assert [one.name for one in found] == ["anna", "bert", "broken", "cleo"]
    assert [one.is_video for one in found] == [False, False, False, True]
    assert find_subjects([people / "anna", people / "cleo.MP4"]) == [found[0], found[3]]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_table_says_what_is_different_for_some(kind, people):
    rows = [
        {"subject": "people/anna", "name": "", "steps": "300", "options": "--machine.seed 1"},
        {"subject": "people/bert", "name": "b", "method": "instant-avatar", "steps": None},
    ]
    table = people.parent / f"table.{kind}"
    if kind == "json":
        table.write_text(json.dumps(rows))
    else:
        names = ("subject", "name", "method", "steps", "options")
        lines = [",".join(row.get(name) or "" for name in names) for row in rows]
        table.write_text("\ufeff" + "\n".join([",".join(names), *lines]), "utf8")
    assert find_subjects([table]) == [
        Subject("anna", people / "anna", None, 300, "--machine.seed 1"),
        Subject("b", people / "bert", "instant-avatar"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject,colour\npeople/anna,red\n", "column 'colour'"),
        ("name\nanna\n", "no subject"),
        ("subject\npeople/nobody\n", "which does not exist"),
        ("subject,steps\npeople/anna,many\n", "steps many"),
        ("subject\n", "no rows"),
    ],
)
def test_a_table_that_cannot_be_followed_is_told(text, said, people):
    table = people.parent / "table.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=said):
        find_subjects([table])


def test_paths_that_lead_nowhere_are_told(people, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "gone", "no such file"), (people / "notes.txt", "file of type .txt")):
        with pytest.raises(UserError, match=said):
            find_subjects([path])
    with pytest.raises(UserError, match="nothing"):
        find_subjects([tmp_path / "empty"])
    with pytest.raises(UserError, match="--people 12"):
        find_subjects([])


def test_two_of_one_name_and_names_of_no_folder_are_told(people):
    with pytest.raises(UserError, match="two subjects of the name"):
        find_subjects([people / "anna", people])
    table = people.parent / "table.csv"
    table.write_text("subject,name\npeople/anna,../../anna\n")
    with pytest.raises(UserError, match="cannot be that of a folder"):
        find_subjects([table])
