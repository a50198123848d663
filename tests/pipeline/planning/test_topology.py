"""GPUs by name, and the notation of their programs where it differs from TPUs'.

Names of slices, and distances between their devices.
"""

import dataclasses
import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import jax
import pytest
from hlo_programs import program_text

from model.config import MeshShape
from pipeline.errors import ArtifactError
from pipeline.hardware import compiler_flags
from pipeline.planning import topology as gpus
from pipeline.planning.compiled_step import CompiledStep
from pipeline.planning.hlo.collectives import Collective
from pipeline.planning.hlo.program import parse
from pipeline.planning.hlo.work import products, traffic_bytes
from pipeline.planning.roofline import roofline, to_other_hosts
from pipeline.planning.topology import Topology, topology
from pipeline.planning.verdict import larger_slices
from pipeline.recipe.named import get

# A batch of two products, [16, 32] times [32, 8] each, by a library call with scratch memory.
PRODUCT = program_text("batched_call")

# Each of four devices sends three quarters of 1,024 bytes.
EXCHANGE = program_text("exchange")


@dataclass(frozen=True)
class Device:
    """A GPU of a host."""

    process_index: int
    device_kind: str = "NVIDIA H100 80GB HBM3"


TWO_HOSTS = Topology("h100:2x4", tuple(Device(n // 4) for n in range(8)), 8, 2**36, ())


EIGHT = tuple(range(8))


@pytest.mark.parametrize(
    ("name", "hosts", "each"), [("h100:8", 1, 8), ("a100:2x4", 2, 4), ("h200:4x8", 4, 8)]
)
def test_a_name_is_hosts_times_gpus(name, hosts, each):
    assert gpus.gpu_cluster(name) == (gpus.GPUS[name.split(":")[0]], hosts, each)


def test_without_the_compiler_the_message_names_the_package(monkeypatch):
    monkeypatch.setattr(gpus, "NEEDED", ("no_such_package.at_all",))
    with pytest.raises(ArtifactError, match=r"plan-gpu"):
        topology("h100:8")
    monkeypatch.setattr(compiler_flags.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ArtifactError, match="make install EXTRAS=demo,dev,plan"):
        topology("v5p:2x2x1")


def test_a_library_call_counts_as_a_product_without_its_scratch():
    program = parse(PRODUCT)
    flops = 2 * 2 * 16 * 32 * 8
    assert products(program) == (flops, 6 * flops)
    assert traffic_bytes(program) == 4 * (2 * 16 * 32 + 2 * 32 * 8 + 2 * 16 * 8)


@pytest.mark.parametrize(
    ("kind", "group", "pairs", "bytes_sent"),
    [
        ("all-to-all", (0, 1, 2, 3), (), 0),  # within a host
        ("all-to-all", (0, 4), (), 500),
        ("all-gather", EIGHT, (), 125),  # half of the result, by four adapters
        ("all-gather", (0, 4), (), 500),
        ("all-reduce", EIGHT, (), 250),
        ("reduce-scatter", (0, 4), (), 1000),  # of a result of 1,000 bytes, so of 2,000 in all
        ("collective-permute", (0, 1), ((0, 1),), 0),
        ("collective-permute", (0, 1), ((0, 1), (3, 4)), 1000),  # if any of its pairs does
    ],
)
def test_hosts_share_what_crosses_the_network(kind, group, pairs, bytes_sent):
    one = Collective(kind, "activations", ("data",), group, 3, 1000, pairs)
    assert to_other_hosts(one, TWO_HOSTS) == bytes_sent


@pytest.mark.parametrize(
    ("expert_slices", "bytes_sent"),
    [(1, 0), (2, 512)],  # half of the experts are on the other host
)
def test_experts_across_hosts_send_tokens_over_the_network(expert_slices, bytes_sent):
    mesh = MeshShape(data=2, expert=4, slices=2, expert_slices=expert_slices)
    recipe = dataclasses.replace(get("switch-demo"), mesh=mesh)
    program = parse(EXCHANGE)
    step = CompiledStep(recipe, TWO_HOSTS, SimpleNamespace(), program, 0)  # pyright: ignore
    (found,) = roofline(step, program).transfers
    assert found.network_bytes == bytes_sent


@dataclass(frozen=True)
class Chip:
    """A device with coordinates."""

    coords: tuple[int, ...]
    device_kind: str


def slice_of(name: str, *shape: int, kind: str = "TPU v5") -> Topology:
    chips = tuple(Chip(at, kind) for at in itertools.product(*map(range, shape)))
    return Topology(name, chips, len(chips), None, shape)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "unknown") for name in ("v9:2x2", "v5p:banana", "cpu:0")),
        ("v5p:4x4", "3 dimensions"),
        *((name, "at most 256 chips") for name in ("v5e:32x32", "v5e:0x4")),
        ("cpu:4096", "already has"),
        *((f"{name}", "h100:2x8") for name in ("h100:0", "h100:2x2x2", "v100:8", "h100")),
        ("h100:9999x8", "h100:2x8"),
    ],
)
def test_unknown_topologies_are_an_error_of_one_sentence(name, message):
    jax.devices()  # a process chooses its devices once
    assert gpus.gpu_cluster(name) is None
    with pytest.raises(ArtifactError, match=message) as error:
        topology(name)
    assert name in str(error.value)


def test_distances_go_round_rings_only_where_a_dimension_is_one():
    simulated = topology("cpu:4")
    assert (len(simulated.devices), simulated.chips, simulated.memory) == (4, 4, None)
    assert simulated.hops((0, 1, 2, 3)) == 0.75  # one link, or none to itself
    ring, line, cube = (slice_of("v5p", *shape) for shape in ((4, 1, 1), (3, 1, 1), (4, 4, 4)))
    assert ring.hops((0, 1, 2, 3)) == 1.0  # 0, 1, 2, 1 from anywhere
    assert line.hops((0, 1, 2)) == pytest.approx(8 / 9)
    assert cube.hops(tuple(range(64))) == 3.0
    # Three apart, of a line; the devices of this machine have no other name than their kind.
    for name in ("v5e:4x4", "TPU v5 lite"):
        assert slice_of(name, 4, 4, 1, kind="TPU v5 lite").hops((0, 12)) == 1.5
    assert ring.reach((0, 1, 2, 3)) == line.reach((0, 1, 2)) == 2
    assert cube.reach(tuple(range(64))) == 6


def test_larger_slices_double_their_shortest_side():
    assert list(larger_slices("v5e:8x8")) == ["v5e:8x16", "v5e:16x16"]
    assert next(larger_slices("v5p:4x8x8")) == "v5p:8x8x8"


def test_chips_are_found_by_their_vendor(tmp_path):
    assert not compiler_flags.has_chips(tmp_path)
    for number, vendor in enumerate(("0x10de", "0x1ae0")):
        device = tmp_path / str(number)
        device.mkdir()
        (device / "vendor").write_text(vendor + "\n")
        assert compiler_flags.has_chips(tmp_path) == (vendor == "0x1ae0")
