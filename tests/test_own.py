"""Spaces and proxies that users bring: from files, modules and packages, notebooks and pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
import strangers
import torch
from torch import nn

import azlib
from azlib import own_code, spaces
from azlib.errors import AzlibError, AzlibWarning
from azlib.proxies import REGISTRY, count_macs
from azlib.scoring import Execution, recompute, sweep
from azlib.search import Live, RandomSearch, search
from azlib.settings import ScoreSettings
from azlib.spaces import own as own_spaces
from azlib.spaces.template import MySpace

SMALL = ("--batch", 4, "--resolution", 16, "--quiet")
HERE = Execution(workers=1, progress=False)
SPACE = """
from torch import nn
from azlib.spaces import SearchSpace

class Widths(SearchSpace):
    name = "widths"
    input_shape = (4, 1, 8, 8)

    def sample(self, rng):
        return str(rng.integers(2, 6))

    def mutate(self, arch, rng, times=1):
        return self.sample(rng)

    def legal(self, arch):
        return True

    def count(self, arch):
        return {"macs": 576.0 * int(arch), "params": 9.0 * int(arch)}

    def build(self, arch, resolution=None):
        convs = [nn.Conv2d(1, int(arch), 3, padding=1), nn.Conv2d(int(arch), 4, 3, padding=1)]
        network = nn.Sequential(*convs)
        network.primary_blocks = ["0", "1"]
        return network
"""
PROXY = """
import azlib

@azlib.proxy("{name}")
def weights(probe):
    return sum(p.numel() for p in probe.model.parameters())
"""


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    """What a test loads and registers is forgotten after it."""
    modules, proxies = set(sys.modules), dict(REGISTRY)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_code, "_loaded", [])
    monkeypatch.setattr(own_spaces, "_found", {})
    yield
    for name in [name for name in sys.modules if name not in modules and "." not in name]:
        if name.startswith("own_"):
            del sys.modules[name]
    REGISTRY.clear()
    REGISTRY.update(proxies)


@pytest.fixture
def written(tmp_path):
    """Writes a file of the user's, and returns its path."""

    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


# --- the template ----------------------------------------------------------------------------


def test_a_new_space_is_searched_swept_checked_and_exported(tmp_path, main):
    file = tmp_path / "own_wide_nets.py"
    status, shown, _ = main("new-space", file)
    assert status == 0 and f"{file}:OwnWideNets" in shown
    space, out = f"{file}:OwnWideNets", tmp_path / "found.parquet"
    more = ("--iterations", 4, "--population", 3, "--budget", "20e6")
    status, _, said = main("search", "--space", space, *more, *SMALL, "--out", out)
    assert status == 0, said
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["settings"]["space"]["name"] == "own-wide-nets" and found["macs"] <= 20e6
    exported = tmp_path / "found.pt"
    json_file = out.with_suffix(".json")
    own_spaces._found.clear()  # as in another process
    status, _, said = main("export", json_file, "--out", exported, "--resolution", 16)
    assert status == 1 and "A space of your own is given as my_space.py:MySpace" in said
    status, shown, said = main(
        "export", json_file, "--space", space, "--out", exported, "--resolution", 16
    )
    assert status == 0 and "read back" in shown, said
    status, _, said = main("new-space", file)
    assert status == 1 and "is there already" in said and said.count("\n") == 1
    for bad in ("my-space.py", "space.txt", "random.py", "torch.py", "_.py", "_3d.py", "none.py"):
        status, _, said = main("new-space", tmp_path / bad)
        assert status == 1 and "such as my_space.py" in said and not (tmp_path / bad).exists()
    for bad in ("mobilenetv2", "nasbench_macro"):
        status, _, said = main("new-space", tmp_path / f"{bad}.py")
        assert status == 1 and f"calls itself '{bad.replace('_', '-')}', as one of azlib's" in said
        assert said.count("\n") == 1 and not (tmp_path / f"{bad}.py").exists()


def test_a_file_of_ones_own_hides_nothing_that_is_installed(tmp_path, main, monkeypatch):
    (tmp_path / "my_space.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m azlib` and JupyterLab do
    assert main("new-space", tmp_path / "sub" / "my_space.py")[0] == 0


def test_the_template_counts_what_its_networks_cost():
    for channels in (1, 3):
        space, rng = MySpace(input_shape=(2, channels, 32, 32)), np.random.default_rng(channels)
        for _ in range(3):
            arch = space.mutate(space.sample(rng), rng, 2)
            network = space.build(arch)
            counted = space.count(arch)
            assert counted["macs"] == count_macs(network, torch.zeros(space.input_shape))
            assert counted["params"] == sum(p.numel() for p in network.parameters())
    trained = space.training_network(arch, spaces.Training(7, 32, rng=torch.Generator()))
    assert trained(torch.zeros(space.input_shape)).shape == (2, 7)
    with pytest.raises(AzlibError, match="expected one like d2w16k3"):
        space.count("d9w16k3-d1w32k5-d3w64k3")
    with pytest.raises(AzlibError, match="expected MACs, such as 20e6"):
        space.read_budget("a lot")


# --- spaces from elsewhere -------------------------------------------------------------------


def test_a_file_reaches_the_worker_processes_with_space_and_proxy(tmp_path, main, written):
    space = f"{written('own_widths.py', SPACE)}:Widths"
    imported = ("--import", written("own_proxies.py", PROXY.format(name="own-weights")))
    out = tmp_path / "s.parquet"
    proxies = ("--proxies", "own-weights,trainability")
    sample = ("--sample", 4, "--chunk", 4, "--workers", 2, "--quiet", "--out", out)
    status, _, said = main("sweep", "--space", space, *imported, *proxies, *sample)
    assert status == 0, said
    frame = pd.read_parquet(out).set_index("arch").sort_index()
    weights = [9 * w + w + 36 * w + 4 for w in map(int, frame.index)]
    assert frame["own-weights"].tolist() == weights and frame["trainability"].notna().all()
    assert main("check-scores", out, "--space", space, *imported)[0] == 0
    own_spaces._found.clear()
    del REGISTRY["own-weights"]
    for options, message in [
        ((), "holds scores of a space that is not found: unknown search space 'widths'"),
        (("--space", space), "unknown proxy 'own-weights'"),
        (("--space", "nasbench201"), "holds scores of the space 'widths', not of 'nasbench201'"),
    ]:
        status, _, said = main("check-scores", out, *options)
        assert status == 1 and message in said and said.count("\n") == 1


def test_spaces_are_found_in_modules_and_installed_packages(monkeypatch, written):
    written("own_widths.py", SPACE + "\ndef narrow():\n    return Widths()\nREADY = Widths()\n")
    monkeypatch.chdir(written("x", "").parent)
    for member in ("Widths", "narrow", "READY"):
        assert spaces.get(f"own_widths:{member}").name == "widths"
    assert spaces.get("widths").input_shape == (4, 1, 8, 8)  # once found, by its name
    with pytest.raises(AzlibError, match="unknown option of widths 'cost_resolution'"):
        spaces.get("widths", 32)
    own_spaces._found.clear()

    def offered(*, group):
        assert group == "azlib.spaces"
        point = metadata.EntryPoint
        return [
            point("widths", "own_widths:Widths", group),
            point("wider", "own_widths:Widths", group),
            point("gone", "own_nowhere:Widths", group),
        ]

    monkeypatch.setattr(metadata, "entry_points", offered)
    assert spaces.get("widths").name == "widths"
    with pytest.raises(AzlibError, match="'wider' gives a space that calls itself 'widths'"):
        spaces.get("wider")
    with pytest.raises(AzlibError, match=r"cannot be loaded: ModuleNotFoundError"):
        spaces.get("gone")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import SearchSpace", "import SearchSpac", "cannot be loaded: ImportError.*line 3"),
        ("class Widths(", "class Widths((", r"cannot be loaded: SyntaxError.*\(line \d+\)"),
        ("class Widths(", "1 / 0\nclass Widths(", r"ZeroDivisionError: .*\(line 5\)"),
        ("class Widths(", "raise SystemExit(3)\nclass Widths(", "cannot be loaded: SystemExit: 3"),
        ("def mutate", "def mutat", "Widths is no search space yet, as it lacks mutate: write"),
        ("(SearchSpace)", "", r"type Widths is no search space, as it lacks proxies, init"),
        ("class Widths(", "class Width(", "unknown member of .* 'Widths'. Did you mean 'Width'"),
        ('name = "widths"', "name = 3", "name of Widths is 3: expected a text"),
        ("(4, 1, 8, 8)", "(4, 1, 8.5)", "input_shape of Widths: .*expected positive integers"),
        ("rng.integers(2, 6)", "arch", r"Widths.sample raises NameError: .*\(line 10\)"),
        ("str(rng.integers(2, 6))", "7", "Widths.sample returns int '7': expected a text"),
        ("rng.integers(2, 6)", "id(rng)", "does not draw from the generator that it is given"),
        ("rng.integers(2, 6)", "__import__('time').perf_counter()", "does not draw from the gen"),
        ("return True", "return 1", "Widths.legal returns int '1': expected True or False"),
        ('"params"', '"par"', "Widths.count returns dict .*expected a dictionary with macs and p"),
        ("arch, resolution=None", "arch", r"Widths.build takes \(arch\): expected \(arch, resol"),
        ('name = "widths"', 'name = "nasbench201"', "calls itself 'nasbench201', as one of azl"),
        ("    name =", "    def __init__(self, n): pass\n    name =", "raises TypeError: .*'n'"),
        ("return network", "return 3", "Widths.build returns int for '.': expected a torch.nn.Mod"),
    ],
)
def test_what_is_wrong_with_a_space_file_is_said_in_one_line(
    tmp_path, main, written, old, new, message
):
    assert old in SPACE
    space = f"{written('own_widths.py', SPACE.replace(old, new))}:Widths"
    options = ("--sample", 2, "--workers", 1, "--quiet", "--out", tmp_path / "s.parquet")
    status, _, said = main("sweep", "--space", space, *options)
    assert status == 1 and re.search(message, said), said
    assert said.count("\n") == 1


@pytest.mark.parametrize("member", ["mutate", "legal", "count", "build"])
def test_a_space_that_raises_later_says_which_member_and_on_what(tmp_path, main, written, member):
    """No rehearsal finds it, as it happens to one architecture, which the search meets later."""
    lines = SPACE.splitlines()
    place = next(i for i, line in enumerate(lines) if f"def {member}(" in line) + 1
    lines[place:place] = ["        if arch == '5':", "            raise KeyError('late')"]
    space = f"{written('own_widths.py', chr(10).join(lines))}:Widths"
    options = ("--space", space, "--quiet", "--workers", 1, "--batch", 2, "--out")
    message = rf"Widths\.{member} of '5' raises KeyError: 'late' \(line {place + 2}\)"
    more = ("--iterations", 20, "--population", 2)
    status, shown, said = main("search", *options, tmp_path / "found.parquet", *more)
    assert re.search(message, shown + said), shown + said
    # A network that is not built is one that cannot be scored; it is last, and the search goes on.
    assert status == (member != "build") and said.count("\n") == 1
    if member in ("legal", "count"):
        status, _, said = main("sweep", "--sample", 4, *options, tmp_path / "s.parquet")
        assert status == 1 and re.search(message, said) and said.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "return {'most': float(text)}",
            r"Widths.read_budget of 'abc' raises ValueError: could .*",
        ),
        ("return text", "Widths.read_budget returns str 'abc': expected a dictionary from names"),
        (
            "return {1: text}",
            "Widths.read_budget returns dict .*: expected a dictionary from names",
        ),
        ("raise azlib.AzlibError('budget: expected FLOPs')", "budget: expected FLOPs"),
    ],
)
def test_a_budget_that_a_space_cannot_read_is_said_in_one_line(
    tmp_path, main, written, line, message
):
    code = f"import azlib\n{SPACE}\n    def read_budget(self, text):\n        {line}\n"
    space = f"{written('own_widths.py', code)}:Widths"
    options = ("--space", space, "--budget", "abc", "--out", tmp_path / "s.parquet")
    status, _, said = main("sweep", *options)
    assert status == 1 and re.search(message, said) and said.count("\n") == 1, said
    assert "unforeseen" not in said


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("none.py:Widths", "none.py is not there: expected a Python file"),
        ("own_widths.py", r"say which class of the file, as own_widths.py:Widths"),
        ("own_nowhere:Widths", "the module 'own_nowhere' cannot be imported"),
        ("random.py:Widths", "has the name of another module, 'random': rename the file"),
        ("own.widths.py:Widths", "own.widths.py cannot be imported by Python: name it like"),
    ],
)
def test_files_that_are_not_there_are_said(monkeypatch, written, space, message):
    for name in ("own_widths.py", "random.py", "own.widths.py"):
        monkeypatch.chdir(written(name, SPACE).parent)
    with pytest.raises(AzlibError, match=message) as error:
        spaces.get(space)
    assert "\n" not in str(error.value)


def test_a_file_that_is_imported_already_is_that_module(monkeypatch, written):
    file = written("own_widths.py", SPACE)
    monkeypatch.syspath_prepend(file.parent)
    from own_widths import Widths

    assert type(spaces.get(f"{file}:Widths")) is Widths
    clash = written("own_proxies.py", PROXY.format(name="snip"))
    with pytest.raises(AzlibError, match=r"own_proxies.py: the proxy 'snip' is azlib's own"):
        own_code.load(clash)


def test_one_channel_is_kept_and_training_says_what_it_reads(tmp_path, written):
    from PIL import Image

    from azlib.training.recipes import Network, adjusted, named
    from azlib.training.trainer import train

    code = SPACE + "\n    def training_network(self, arch, training):\n        return 3\n"
    space = spaces.get(f"{written('own_widths.py', code)}:Widths")
    assert ScoreSettings.for_space(space, batch=2, resolution=16).input_shape == (2, 1, 16, 16)
    network = Network("widths", "3", 2, 8)
    assert network.channels == 1
    with pytest.raises(AzlibError, match="training_network of the space widths returns int"):
        network.build()
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / folder / "1.jpg")
    recipe = adjusted(named("plain"), {"batch": 2})
    with pytest.raises(AzlibError, match="images of 1 channels, the recipes read RGB photographs"):
        train(network, tmp_path / "images", tmp_path / "runs", recipe)


# --- notebooks -------------------------------------------------------------------------------

NOTEBOOK = (
    SPACE
    + PROXY.format(name="own-weights")
    + """
from azlib.errors import AzlibError
from azlib.scoring import Execution, sweep
from azlib.search import Live, RandomSearch, search
from azlib.settings import ScoreSettings

space, here = Widths(), Execution(workers=1, progress=False)
settings = ScoreSettings.for_space(space, proxies=["own-weights"])
print(sweep(space, "s.parquet", settings, archs=["2", "3"], execution=here))
live = Live(space, 1, settings)
print(search(space, RandomSearch(), live, iterations=2, execution=here).structure)
two = Execution(workers=2, progress=False)
for action in (
    lambda: sweep(space, "t.parquet", settings, archs=["2", "3"], execution=two),
    lambda: search(space, RandomSearch(), live, iterations=2, execution=two),
):
    try:
        action()
    except AzlibError as error:
        print(error)
"""
)


def test_a_notebook_needs_one_worker_and_is_told_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    path, structure, *refusals = done.stdout.splitlines()
    assert path == "s.parquet" and structure in "2345" and len(refusals) == 2
    for what, line in zip(("the space widths", "the score function"), refusals, strict=True):
        assert re.match(f"{what} cannot be sent to processes, as (Widths|weights) is defi", line)
        assert "use workers=1" in line


def test_what_is_defined_in_a_function_needs_one_worker():
    class Local(MySpace):
        pass

    with pytest.raises(AzlibError, match="the space my-space cannot be sent to processes"):
        sweep(Local(), "s.parquet", archs=["x"], execution=Execution(workers=2))


# --- proxies ---------------------------------------------------------------------------------


def convolutions():
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def score(name):
    return azlib.score(convolutions(), (4, 3, 8, 8), proxies=name)[name]


def test_a_proxy_is_registered_again_and_clashes_are_refused():
    def define(value):
        @azlib.proxy("own-again")
        def again(probe):
            return value

        return again

    define(1)
    define(torch.tensor([2.0], requires_grad=True))  # the cell runs again
    assert score("own-again") == 2.0
    define(np.float32(3))
    assert score("own-again") == 3.0
    with pytest.raises(AzlibError, match=r"'own-again' is that of test_own.*\.again: choose"):
        azlib.proxy("own-again")(lambda probe: 1)
    with pytest.raises(AzlibError, match="the proxy 'snip' is azlib's own: choose another name"):
        azlib.proxy("snip")(lambda probe: 1)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda: azlib.proxy(convolutions), r'write @proxy\("name"\), got <function'),
        (lambda: azlib.proxy("two words"), "expected letters, digits"),
        (lambda: azlib.proxy("az-graph"), "is that of an assembly"),
        (lambda: azlib.proxy("seconds"), "is that of a column of its own"),
        (lambda: azlib.proxy("own", image=1), "unknown need of a proxy 'image'. Did you mean"),
        (lambda: azlib.proxy("own")(convolutions), "expected a function of one argument"),
        (lambda: azlib.proxy("own")(3), "expected a function of one argument"),
    ],
)
def test_a_proxy_that_cannot_be_registered_gets_one_line(define, message):
    with pytest.raises(AzlibError, match=message) as error:
        define()
    assert "\n" not in str(error.value) and "own" not in REGISTRY


def double(probe):
    with torch.no_grad():
        for parameter in probe.model.parameters():
            parameter.mul_(2)
    return 1.0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda probe: probe.inputs[0], r"returned a tensor of shape \(3, 8, 8\): expected one nu"),
        (lambda probe: None, "returned nothing: expected one number, does it end without return"),
        (lambda probe: "0.5", "returned a str: expected one number"),
        (lambda probe: {"a": 1}, "returned a dict: expected one number"),
        (lambda probe: probe.nothing, "own cannot be computed for Sequential: AttributeError"),
        (lambda probe: {}["x"], "own cannot be computed for Sequential: KeyError: 'x'"),
        (double, "changes the weights of the network.*let it work on copy.deepcopy"),
    ],
)
def test_what_a_proxy_must_not_return_is_said_in_one_line(function, message):
    azlib.proxy("own")(function)
    with pytest.raises(AzlibError, match=message) as error:
        score("own")
    assert "\n" not in str(error.value)


def test_nan_of_an_own_proxy_is_kept_and_warned_of():
    azlib.proxy("own")(lambda probe: float("nan"))
    with pytest.warns(AzlibWarning, match="the proxy 'own' is NaN for Sequential: NaN ranks last"):
        assert np.isnan(score("own"))


def by_data(probe):
    for parameter in probe.model.parameters():
        parameter.data.mul_(2)  # which PyTorch does not count as a change
    return 1.0


def empties(probe):
    probe.inputs.zero_()
    return 1.0


@pytest.mark.parametrize("function", [by_data, empties])
def test_a_proxy_that_changes_what_others_read_is_refused(function):
    azlib.proxy("own")(function)
    with pytest.raises(AzlibError, match="'own' changes the weights of the network or its input"):
        score("own")


class Attention(nn.Module):
    """Its projections are no layers that an initialisation draws."""

    def __init__(self, depth):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        layers = [nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(depth)]
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = x + layer(x, x, x)[0]
        return self.head(x.mean(1))


class Attentions(MySpace):
    name = "attentions"

    def build(self, arch, resolution=None):
        return Attention(len(arch) // 7)


def test_networks_of_a_space_are_built_the_same_every_time(tmp_path):
    space = Attentions()
    archs = list(dict.fromkeys(space.sample(np.random.default_rng(k)) for k in range(3)))
    settings = ScoreSettings(("grad_norm", "snip"), (4, 3, 16, 16))
    tables = []
    for order in (archs, archs[::-1]):
        path = tmp_path / f"{len(tables)}.parquet"
        torch.rand(5)
        sweep(space, path, settings, archs=order, execution=HERE)
        tables.append(pd.read_parquet(path).set_index("arch").loc[archs, ["grad_norm", "snip"]])
    pd.testing.assert_frame_equal(*tables, rtol=0)


def test_gradients_that_a_proxy_leaves_behind_do_not_reach_the_next():
    def backward(probe):
        probe.model(probe.inputs).sum().backward()
        return sum(float(p.grad.abs().sum()) for p in probe.model.parameters())

    azlib.proxy("own-one")(backward)
    alone = score("own-one")
    azlib.proxy("own-two")(lambda probe: backward(probe))
    both = azlib.score(convolutions(), (4, 3, 8, 8), proxies="own-one,own-two")
    assert both["own-one"] == both["own-two"] == alone


class Normed(nn.Module):
    """Two blocks with running statistics, which are of a network that was trained."""

    primary_blocks = ("first", "second")

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 4)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)

    def forward(self, x):
        return self.head(self.second(self.first(x)).mean((2, 3)))


def reads_the_trace(probe):
    """Runs the network in both modes around the trace, as a careless proxy may."""
    probe.model(probe.inputs)
    with torch.no_grad():
        first = float(probe.trace.covariances[0].sum())
        return first + float(probe.model.eval()(probe.inputs).sum())


@pytest.mark.parametrize("init", [None, "kaiming_norm_fanin"])
@pytest.mark.parametrize("batch_statistics", [True, False])
def test_a_score_does_not_depend_on_which_others_are_asked_for(init, batch_statistics):
    azlib.proxy("own-one")(reads_the_trace)
    azlib.proxy("own-two", init="unit_norm")(lambda probe: reads_the_trace(probe))
    names = ["expressivity", "own-one", "trainability", "own-two", "vkdnw_entropy", "complexity"]
    names += ["naswot", "synflow"]
    settings = {"init": init, "batch_statistics": batch_statistics}
    alone = {}
    for name in names:
        alone |= azlib.score(Normed(), (4, 3, 12, 12), proxies=name, **settings)
    for order in (names, names[::-1]):
        together = azlib.score(Normed(), (4, 3, 12, 12), proxies=order, **settings)
        assert together == alone
    assert (alone["own-one"] == alone["own-two"]) == (init is None)


def test_an_own_proxy_guides_a_search_and_its_file_is_checked(tmp_path):
    azlib.proxy("own-params")(lambda probe: sum(p.numel() for p in probe.model.parameters()))
    space = MySpace()
    live = Live.at(space, seed=1, proxies="own-params", batch=2, resolution=16)
    found = search(space, RandomSearch(), live, iterations=8, execution=HERE)
    assert found.log["params"].max() == found.summary["params"]
    path = sweep(
        space, tmp_path / "s.parquet", live.settings, archs=[found.structure], execution=HERE
    )
    assert recompute(path, space=space) == (1, 0.0)


class Once(strangers.SquareOf):
    """A square whose derivative has none, as those of many a hand-written kernel."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class Square(nn.Module):
    def forward(self, x):
        return Once.apply(x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Square, r"grasp needs second derivatives, which Sequential does not have \(Once\): leave"),
        (
            strangers.NoSecondDerivative,
            "grasp cannot be computed for Sequential: NotImplementedError",
        ),
    ],
)
def test_grasp_without_a_second_derivative_is_one_line(layer, message):
    """PyTorch itself gives a wrong number for the first, where the part of `Once` is missing."""
    model = convolutions()
    model.insert(1, layer())
    options = {"labelled_images": [(torch.randn(4, 3, 8, 8), torch.arange(4))]}
    assert np.isfinite(azlib.score(model, (4, 3, 8, 8), proxies="snip", **options)["snip"])
    with pytest.raises(AzlibError, match=message) as error:
        azlib.score(model, (4, 3, 8, 8), proxies="grasp", **options)
    assert "\n" not in str(error.value)
