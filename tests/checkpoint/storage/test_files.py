"""The file operations of a commit, and the seam through which they are seen and failed."""

from __future__ import annotations

import os
import threading

import pytest

from ringnb.checkpoint.storage.directory import files


def test_interposers_are_nested_and_see_names_and_arguments(tmp_path):
    seen = []

    def interposer(label):
        def interpose(name, arguments, call):
            seen.append((label, name, arguments))
            return call()

        return interpose

    folder = tmp_path / "folder"
    with files.interposing(interposer("first")):
        with files.interposing(interposer("second")):
            files.make_directory(folder)
        files.remove_directory(folder)
    files.make_directory(folder)
    assert seen == [
        ("second", "make_directory", (folder,)),
        ("first", "make_directory", (folder,)),
        ("first", "remove_directory", (folder,)),
    ]
    assert folder.is_dir()


def test_an_interposer_may_fail_an_operation_leave_it_out_or_change_its_result(tmp_path):
    def choose(name, arguments, call):
        if name == "rename":
            raise OSError(5, "Input/output error")
        return None if name == "remove_file" else call()

    path = tmp_path / "file"
    with files.interposing(choose):
        files.write_file(path, [b"one", memoryview(b"two"), b""], durable=True)
        with pytest.raises(OSError, match="Input/output"):
            files.rename(path, tmp_path / "other")
        files.remove_file(path)
    assert path.read_bytes() == b"onetwo"


def test_the_same_interposer_may_be_put_in_place_twice_and_is_removed_after_an_error(tmp_path):
    count = []

    def note(name, arguments, call):
        count.append(name)
        return call()

    with pytest.raises(RuntimeError), files.interposing(note):
        with files.interposing(note):
            files.touch_directory(tmp_path)
        files.touch_directory(tmp_path)
        raise RuntimeError
    files.touch_directory(tmp_path)
    assert len(count) == 3


def test_an_interposer_sees_every_thread(tmp_path):
    seen = []

    def note(name, arguments, call):
        seen.append(threading.current_thread().name)
        return call()

    with files.interposing(note):
        thread = threading.Thread(target=files.sync_directory, args=(tmp_path,), name="writer")
        thread.start()
        thread.join()
    assert seen == ["writer"]


def test_a_write_that_the_system_cuts_short_is_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    files.write_file(tmp_path / "file", [b"0123456789", b"", b"abcd"], durable=False)
    assert (tmp_path / "file").read_bytes() == b"0123456789abcd"


def test_storage_rule_03_no_file_is_written_over_another(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        files.write_file(tmp_path / "file", [b"other"], durable=False)
    assert (tmp_path / "file").read_text() == "mine"
