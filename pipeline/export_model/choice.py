"""What `skelpipe export-model` exports: a run, or a network of stage one."""

from pathlib import Path

from pipeline.export_model.workflow import export_run, refuse_existing
from pose_extraction.errors import UsageError
from pose_extraction.networks import model_zoo
from recognition.packed import BASE, shipped
from recognition.run_folder import is_encoder
from recognition.run_names import located, meant, name_of
from recognition.runs import detector_file

# Folder of exported networks.
FOLDER = Path("exported")


def export(model: str, kind: str, out: Path | None, weights: Path | None, int8: Path | None) -> Path:
    """Export a run or a network.

    Args:
        model: Run directory, one of its files, an address on a hub, or the name of a network in the model table.
        kind: Format.
        out: Folder or file to create; None for `exported/NAME`.
        weights: Weights of a network of the model table; None for the published ones.
        int8: Labelled skeletons to check 8-bit weights with; None for the weights of the run.

    Returns:
        What was created.

    Raises:
        UsageError: There is no such run or network, it cannot be exported, or the options contradict each other.
        BackendError: A package for the format is not installed.
        WeightsError: Weights cannot be read, or the exported network differs from the run.
    """
    run = located(model)
    if not run.exists():
        kinds = [name for name in ("estimator", "detector") if _is_network(model, name)]
        if kinds and int8 is not None:
            raise UsageError(f"--int8: only runs have 8-bit weights, not {model}; omit --int8")
        if kinds:
            return _export_network(model, kinds[0], kind, out or FOLDER / f"{model}.onnx", weights)
        hint = meant(model, wanted=_is_recognizer) or (
            "pass a directory of `skelpipe train`, or a name listed by `skelpipe models`, such as vitpose-b"
        )
        raise UsageError(f"{model}: neither a run nor a network; {hint}")
    if weights is not None:
        raise UsageError(f"--weights {weights}: {model} is a run, which has its own weights; omit --weights")
    return export_run(run, kind, out or FOLDER / name_of(run), int8=int8)


def _is_recognizer(run: Path) -> bool:
    """Return whether a run recognises actions of clips: neither an encoder, an action detector, nor initial weights."""
    return run != shipped(BASE) and not is_encoder(run) and detector_file(run) is None


def _is_network(name: str, kind: str) -> bool:
    try:
        model_zoo.lookup(name, kind)
    except UsageError:
        return False
    return True


def _export_network(name: str, network: str, kind: str, out: Path, weights: Path | None) -> Path:
    if kind != "onnx":
        raise UsageError(f"--format {kind}: networks of stage one are exported as onnx, which OpenVINO reads, too")
    if out.suffix != ".onnx":
        raise UsageError(f"--out {out}: {name} becomes a single file; pass a name that ends in .onnx")
    refuse_existing(out)
    from pose_extraction.networks.identity import NetworkOptions, identify
    from pose_extraction.networks.onnx_export import check_exportable, export_network

    # Before weights are downloaded.
    check_exportable(model_zoo.lookup(name, network))
    checkpoint, options = None if weights is None else str(weights), NetworkOptions(weights_option="--weights")
    export_network(identify(network, name, checkpoint=checkpoint, options=options), out)
    return out
