import json
import linecache
import os
import shutil
import sys

import pytest

from umekomi import files
from umekomi.errors import DataError, WrongUse
from umekomi.files import (
    content_hash,
    folder_hash,
    inside,
    read_json,
    regular_file,
    whole_file,
    whole_folder,
    write_json,
)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    class Stop(Exception):
        pass

    with pytest.raises(Stop), whole_file(path) as temporary:
        temporary.write_text("half")
        raise Stop
    assert json.loads(path.read_text()) == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model"
    with whole_folder(target) as place:
        write_json(place / "umekomi.json", {"version": 1})
    with pytest.raises(ZeroDivisionError), whole_folder(target) as place:
        write_json(place / "umekomi.json", {"version": 2})
        raise ZeroDivisionError
    assert read_json(target / "umekomi.json") == {"version": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WrongUse, match="no saved model"), whole_folder(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_hashes_tell_contents_apart(tmp_path):
    assert content_hash("ab", "c") != content_hash("a", "bc")
    (tmp_path / "a").write_text("1")
    before = folder_hash(tmp_path)
    (tmp_path / "a").write_text("2")
    assert folder_hash(tmp_path) != before


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "x/..", "/etc/passwd", "a/b", "\\\\host\\share", "..\\x", "C:x", "x:stream"),
        *(
            "NUL",
            "con.txt",
            "LPT1.npy",
            "com¹",
            "aux .x",
            "x.",
            "x ",
            "...",
            "a\0b",
            "a\nb",
            "a\x7f",
            "x" * 256,
            "あ" * 86,
        ),
        *("\ud800", 'a"b', "a*", "a?", "a|b", "<a>", None, 3, b"x", ["x"]),
    ],
)
def test_a_name_from_a_file_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="the list: expected a plain name within"):
        inside(tmp_path, name, "the list")
    with pytest.raises(DataError, match="the list: expected a plain name within"):
        inside(
            tmp_path,
            f"x/{name}" if isinstance(name, str) and "/" not in name else name and "//",
            "the list",
            nested=True,
        )


def test_plain_names_of_every_script_are_taken(tmp_path):
    for name in ("a", "segment-000001", ".hidden", "console", "コンピュータ", "a b.npy", "com10", "nulls.txt", "a..b"):
        assert inside(tmp_path, name, "the list") == tmp_path / name
        assert inside(tmp_path, f"{name}/{name}", "the list", nested=True) == tmp_path / name / name


@pytest.mark.skipif(os.name != "posix", reason="needs links and FIFOs")
def test_links_and_fifos_are_no_files_of_a_folder(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "fifo")
    (folder / "own").mkdir()
    (folder / "own" / "file").symlink_to(tmp_path / "outside" / "file")
    for name, said in (("link/file", "a link"), ("gone", "a link"), ("fifo", "a FIFO"), ("own/file", "a link")):
        with pytest.raises(DataError, match=f"expected a file or a folder of its own, found {said}"):
            inside(folder, name, "the list", nested=True)
    assert inside(folder, "own/file", "the list", nested=True, links=True).read_text() == "mine"
    for path, said in ((folder / "fifo", "a FIFO"), (folder / "own", "a folder"), (folder / "own" / "file", "a link")):
        with pytest.raises(DataError, match=f"expected a file, found {said}"):
            regular_file(path)
    with pytest.raises(FileNotFoundError):
        regular_file(folder / "nothing")
    assert regular_file(tmp_path / "outside" / "file").st_size == 4


def press_control_c():
    raise KeyboardInterrupt


def interrupted_at(step, job, interrupt=press_control_c):
    """Run ``job`` with Ctrl-C (or another ``interrupt``) before the line of umekomi.files that it comes to as its
    ``step``th: whether it came so far, and what the line says."""
    seen, line = 0, ""

    def trace(frame, event, argument):
        nonlocal seen, line
        if frame.f_code.co_filename != files.__file__:
            return None
        text = linecache.getline(files.__file__, frame.f_lineno).strip()
        if event == "line" and text != "try:":  # which does nothing, and where no signal is looked for
            seen += 1
            if seen == step:
                line = text
                interrupt()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        job()
    except KeyboardInterrupt:
        return True, line
    finally:
        sys.settrace(before)
    return False, line


def test_control_c_before_any_line_leaves_a_file_whole_and_alone(tmp_path):
    path = tmp_path / "a.txt"

    def job():
        with whole_file(path) as temporary:
            temporary.write_text("new")

    for step in range(1, 100):
        path.write_text("old")
        hit, line = interrupted_at(step, job)
        assert path.read_text() in ("old", "new")
        assert [each.name for each in tmp_path.iterdir()] == ["a.txt"], line
        if not hit:
            break
    assert 8 < step < 99 and path.read_text() == "new"


@pytest.mark.parametrize("at_once", [True, False])
def test_control_c_before_any_line_loses_no_folder(tmp_path, monkeypatch, at_once):
    path = tmp_path / "model"
    if not at_once:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)

    def job():
        with whole_folder(path) as temporary:
            (temporary / "umekomi.json").write_text("new")

    with whole_folder(path) as temporary:
        (temporary / "umekomi.json").write_text("old")
    for step in range(1, 200):
        hit, line = interrupted_at(step, job)
        assert (path / "umekomi.json").read_text() in ("old", "new"), line
        left = [each.name for each in tmp_path.iterdir() if each != path]
        # a Ctrl-C within the last cleaning up leaves what it was about to clean up
        last = ("shutil.rmtree(temporary", "shutil.rmtree(retired", "if path.exists():  #")
        assert not left or line.startswith(last), (line, left)
        for name in left:
            shutil.rmtree(tmp_path / name)
        if not hit:
            break
    assert 15 < step < 199 and (path / "umekomi.json").read_text() == "new"


@pytest.mark.skipif(sys.platform != "linux", reason="a fork, and folders that change their names at once")
def test_a_kill_before_any_line_leaves_a_whole_folder_in_place(tmp_path):
    path = tmp_path / "model"

    def save(what):
        with whole_folder(path) as temporary:
            (temporary / "umekomi.json").write_text(what)

    save("old")
    for step in range(1, 200):
        child = os.fork()
        if not child:
            interrupted_at(step, lambda: save("new"), lambda: os._exit(9))
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert (path / "umekomi.json").read_text() in ("old", "new"), step
        if not killed:
            break
        files._left.clear()  # another process comes next
        save("old")
        assert [each.name for each in tmp_path.iterdir()] == ["model"], step
    assert 15 < step < 199 and (path / "umekomi.json").read_text() == "new"


@pytest.mark.skipif(files.fcntl is None, reason="locks")
def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(tmp_path):
    path, table = tmp_path / "model", tmp_path / "a.csv"
    left = [f".model.{'0' * 16}", f".model.{'1' * 16}.old", f".a.csv.{'2' * 16}.csv", f".model.{'3' * 16}.old"]
    for name in left:
        (tmp_path / name).mkdir() if "model" in name else (tmp_path / name).touch()
    (tmp_path / left[3] / "umekomi.json").write_text("the only one")
    (tmp_path / left[1]).rmdir()
    others = {".model.mine", ".model.0123", f".other.{'0' * 16}"}
    for name in others:
        (tmp_path / name).mkdir()
    with whole_folder(path) as first:
        assert (path / "umekomi.json").read_text() == "the only one", "moved aside by one that was killed"
        files._left.clear()
        with whole_folder(path) as second, whole_file(table) as third:
            assert first.exists() and second.exists() and third.exists()
            (second / "umekomi.json").write_text("second")
            third.write_text("1")
        (first / "umekomi.json").write_text("first")
    assert {each.name for each in tmp_path.iterdir()} == others | {"model", "a.csv"}
    assert (path / "umekomi.json").read_text() == "first"


@pytest.mark.skipif(files.fcntl is None, reason="locks")
def test_a_process_lists_a_folder_once_however_much_it_writes_there(tmp_path, monkeypatch):
    left = tmp_path / f".b.json.{'0' * 16}.json"
    left.touch()
    (tmp_path / ".b.json").touch()  # no name of a temporary neighbour
    listed, whole = [], os.listdir
    monkeypatch.setattr(files.os, "listdir", lambda folder: listed.append(folder) or whole(folder))
    monkeypatch.setattr(files.Path, "iterdir", lambda folder: pytest.fail(f"{folder} is listed"))
    for name in "acdacd":
        write_json(tmp_path / f"{name}.json", 1)
        assert left.exists()
    with left.open() as held:
        files._hold(held.fileno())
        write_json(tmp_path / "b.json", 1)
        assert left.exists(), "another process is at work on it"
    write_json(tmp_path / "b.json", 1)
    assert not left.exists() and (tmp_path / ".b.json").exists() and listed == [tmp_path]
