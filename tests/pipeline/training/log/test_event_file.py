from stored_runs import use_store
from tensorboardX.proto.event_pb2 import Event

from data.files.paths import Address, names_in, read_bytes
from pipeline.training.log.event_file import EventFile


def curves(directory: Address) -> dict[int, float]:
    """Returns the values in the only file by step, as TensorBoard reads them."""
    (name,) = names_in(directory)
    content, found = read_bytes(directory / name), {}
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        for one in event.summary.value:
            found[event.step] = one.simple_value
        content = content[16 + size :]
    return found


def test_all_curves_that_were_added_are_in_the_store(tmp_path, monkeypatch):
    """Also those of the last evaluation, after which nothing but `publish` follows."""
    use_store(tmp_path, monkeypatch)
    directory = Address("store://bucket/run/tensorboard")
    file = EventFile(directory, 1)
    file.add_scalar("training/loss_nats", 4.0, 10)
    file.flush()
    file.add_scalar("held-out/loss_nats", 3.5, 12)
    file.publish()
    file.close()
    assert curves(directory) == {10: 4.0, 12: 3.5}
