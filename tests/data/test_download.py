"""prepare_data against a server on this machine, with small files in the place of the real ones."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading

import numpy as np
import pytest

from bnn_hvd.config import PrepareDataConfig
from bnn_hvd.data import download, sources
from bnn_hvd.distributed import launcher
from bnn_hvd.errors import UserError

RANDOM = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # urllib leaves sockets open if a connection fails


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in launcher.RANK:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_timeout_left_behind(monkeypatch):
    monkeypatch.setattr("socket.setdefaulttimeout", lambda seconds: None)


@pytest.fixture
def server(tmp_path):
    """Serve tmp_path/remote; yields (folder, url, list of the requested paths)."""
    folder, asked = tmp_path / "remote", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}", asked
    httpd.shutdown()
    httpd.server_close()


def mnist_bytes():
    buffer = io.BytesIO()
    x, y = RANDOM.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.arange(6)
    np.savez(buffer, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    return buffer.getvalue()


def cifar_bytes():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in (*sources.CIFAR10.train, sources.CIFAR10.test):
            content = pickle.dumps({b"data": RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8), b"labels": [3, 8]})
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def remote(server, monkeypatch):
    """Put small files in the place of the real ones; returns the list of requests."""
    folder, url, asked = server
    for dataset, name, content in (("mnist", "mnist.npz", mnist_bytes()), ("cifar10", "cifar.tar.gz", cifar_bytes())):
        (folder / name).write_bytes(content)
        row = download.Remote(f"{url}/{name}", hashlib.sha256(content).hexdigest())
        monkeypatch.setitem(download.FILES, dataset, row)
    return asked


def prepare(dataset, folder):
    return download.main(PrepareDataConfig(dataset=dataset, data_dir=str(folder)))


def test_the_checksums_are_those_of_keras():
    """They are read from the source of the installed Keras: the test fails if an upgrade changes them."""
    import inspect

    from keras.datasets import cifar10, mnist

    for module, row in ((mnist, download.FILES["mnist"]), (cifar10, download.FILES["cifar10"])):
        source = inspect.getsource(module.load_data)
        assert row.sha256 in source
        assert row.name in source


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_what_is_downloaded_can_be_read_as_the_printed_command_says(remote, tmp_path, capsys, dataset):
    folder = tmp_path / "new" / "data folder"
    assert prepare(dataset, folder) == 0
    printed = capsys.readouterr().out
    assert str(folder / download.FILES[dataset].name) in printed
    assert f"python -m bnn_hvd train --dataset={dataset} --data_dir='{folder}'" in printed
    arrays = sources.load(dataset, str(folder))
    assert arrays.x_train.shape == ((6, 28, 28, 1) if dataset == "mnist" else (10, 32, 32, 3))


def test_a_second_call_downloads_nothing(remote, tmp_path):
    prepare("mnist", tmp_path / "data")
    assert len(remote) == 1
    prepare("MNIST", tmp_path / "data")
    assert len(remote) == 1


def test_a_file_put_there_by_hand_is_enough(remote, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "remote" / "cifar.tar.gz").rename(tmp_path / "data" / "cifar.tar.gz")
    assert prepare("cifar10", tmp_path / "data") == 0
    assert remote == []
    assert len(sources.load("cifar10", str(tmp_path / "data")).x_train) == 10


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "HOROVOD_RANK"])
def test_other_ranks_do_nothing(remote, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    assert prepare("mnist", tmp_path / "data") == 0
    assert remote == []
    assert not (tmp_path / "data").exists()
    monkeypatch.setenv(variable, "0")
    prepare("mnist", tmp_path / "data")
    assert (tmp_path / "data" / "mnist.npz").is_file()


def test_another_file_of_that_name_is_left_alone(remote, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist.npz").write_bytes(b"my own")
    with pytest.raises(UserError, match=f"{tmp_path}/data/mnist.npz has another checksum"):
        prepare("mnist", tmp_path / "data")
    assert (tmp_path / "data" / "mnist.npz").read_bytes() == b"my own"
    assert remote == []


def test_a_download_with_another_checksum_is_refused_and_removed(remote, tmp_path):
    (tmp_path / "remote" / "mnist.npz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"mnist.npz could not be downloaded .*hash does not match.*\(sha256 "):
        prepare("mnist", tmp_path / "data")
    assert not (tmp_path / "data" / "mnist.npz").exists()


@pytest.mark.parametrize("failure", ["no such file", "no server", "no such host"])
def test_without_network_it_says_what_to_do_by_hand(remote, tmp_path, monkeypatch, failure):
    row = download.FILES["mnist"]
    (tmp_path / "remote" / "mnist.npz").unlink()
    url = {
        "no such file": row.url,
        "no server": "http://127.0.0.1:1/mnist.npz",
        "no such host": "http://host.invalid/mnist.npz",
    }[failure]
    monkeypatch.setitem(download.FILES, "mnist", download.Remote(url, row.sha256))
    with pytest.raises(UserError) as caught:
        prepare("mnist", tmp_path / "data")
    text = str(caught.value)
    assert text.startswith("mnist.npz could not be downloaded")
    assert url in text
    assert f"put it at {tmp_path}/data/mnist.npz (sha256 {row.sha256})" in text
    assert not (tmp_path / "data" / "mnist.npz").exists()


def test_a_folder_that_can_not_be_made(remote, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path}/file/data can't be made"):
        prepare("mnist", tmp_path / "file" / "data")


def test_a_folder_that_can_not_be_written_is_not_replaced_by_tmp(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="can't be written"):
        prepare("mnist", tmp_path / "data")
    assert remote == []
