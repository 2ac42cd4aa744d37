"""What Horovod and MPI find in the environment: the user's own values win."""

import os

from bnn_hvd.distributed import settings


def test_what_the_user_has_set_wins(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "environ", {"OMPI_MCA_btl_tcp_flags": "send,put"})  # of this test alone
    settings.apply(tmp_path / "new" / "timeline.json", fusion_mb=2)
    found = dict(os.environ)
    assert found["OMPI_MCA_btl_tcp_flags"] == "send,put"
    assert float(found["HOROVOD_CYCLE_TIME"]) == 1e3 * settings.CYCLE_S
    assert found["HOROVOD_FUSION_THRESHOLD"] == str(2 << 20)
    assert (tmp_path / "new").is_dir()  # Horovod does not make it
