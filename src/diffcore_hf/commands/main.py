"""The program diffcore-hf: one function per command, which calls the workflow of that command and prints the result."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.commands.errors import run_program
from diffcore_hf.commands.export import export
from diffcore_hf.commands.parser import Command, parse_command
from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError

if TYPE_CHECKING:
    from diffcore_hf.config.augment import Recipe
    from diffcore_hf.workflows.augment import RunResult

_LONGEST_GRACE = 86_400


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: success. 1: fault. 2: bad input. 128 plus the number of a signal: interrupted, such as 130 after Ctrl-C.
    """
    # Without this setting, OpenMP threads use a core while they wait.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    verbs: list[str] = []

    def action() -> int:
        command = parse_command(sys.argv[1:] if argv is None else argv)
        verbs.append(command.verb)
        return VERBS[command.verb](command)

    resume_hint = ". Finished attempts are kept. The same command continues the run"
    return run_program("diffcore-hf", action, resume_hint=lambda: resume_hint if verbs == ["augment"] else "")


def _recipe(command: Command) -> Recipe:
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.config.layers import positional_layer

    recipe = build_recipe(positional_layer(command.target), command.layer)
    from diffcore_hf.generation.base import strategy_class
    from diffcore_hf.models.model_resolution import check_scheduler

    if ":" not in recipe.strategy.name:
        strategy_class(recipe.strategy.name)
    if recipe.model.scheduler is not None:
        check_scheduler(recipe.model.scheduler)
    return recipe


def plan(command: Command) -> int:
    recipe = _recipe(command)
    from diffcore_hf.augmentation.image_captions import captions_are_due
    from diffcore_hf.workflows.augment import prepare, start
    from diffcore_hf.workflows.leaks import check_sheet_file, find_leaks, leaks_plain, leaks_text, write_sheet
    from diffcore_hf.workflows.lint import findings, findings_text, read_denied
    from diffcore_hf.workflows.plan import check_contexts_are_made, fetch, probe, settled, text
    from diffcore_hf.workflows.source_report import check_report_file, write_report

    report, lint, leaks = (command.options[name] for name in ("report", "lint", "leaks"))
    check_report_file(report)
    if leaks:
        check_sheet_file(report)
    denied = read_denied(command.options["deny"])
    if command.options["fetch"]:
        for line in fetch(recipe):
            print(line)
    target = command.options["prepare"]
    if target is not None:
        if not target.strip():
            raise UserError("--prepare is empty. Give the output folder, e.g. --prepare out/photos")
        recipe = dataclasses.replace(recipe, output=target)
    prepared = prepare(recipe, describe_only=not command.options["probe"])
    print(text(prepared))
    if target is not None:
        check_contexts_are_made(prepared)
        start(prepared)
        print(f"\n{settled(prepared)}")
    pairs = find_leaks(prepared) if leaks else None
    if report:
        write_report(prepared.source_report, report, leaks_plain(prepared, pairs) if leaks else {})
        print(f"\n{report} has the whole report of the source")
        if pairs is not None:
            print(f"{write_sheet(prepared, pairs, report)} shows the closest images of different splits")
    if leaks:
        print(f"\n{leaks_text(prepared, pairs)}")
    if command.options["probe"]:
        quiet_libraries()
        print(probe(prepared))
    found = findings(prepared, denied, lint=lint) if lint or denied else []
    if lint or denied:
        print(f"\n{findings_text(found, without_contexts=captions_are_due(prepared))}")
    return 1 if any(found) or (pairs is not None and pairs.same) else 0


def augment(command: Command) -> int:
    grace = command.options["grace"]
    if not 0 < grace <= _LONGEST_GRACE:
        raise UserError(f"grace is {grace:g}, not a number of seconds in (0, {_LONGEST_GRACE:,}]. Use e.g. 30")
    with signals.handled(grace, _tell_signal):
        return _augment(command, grace)


def _tell_signal(name: str) -> None:
    """Write a line about a received signal to standard error, without the buffers that the signal interrupted."""
    line = f"\n{name}: the device batch is finished and exported. A second signal discards the batch\n"
    with suppress(OSError):
        os.write(2, line.encode())


def _augment(command: Command, grace: float) -> int:
    with signals.interruptible(signals.PREPARATION):
        recipe = _recipe(command)
        from diffcore_hf.augmentation import summary
        from diffcore_hf.augmentation.executors.environment import share_of
        from diffcore_hf.augmentation.executors.starting import workers_of
        from diffcore_hf.workflows.augment import run
        from diffcore_hf.workflows.plan import projection

        options = command.options
        share = share_of(options["worker"], os.environ, only=options["share_only"])
        workers = workers_of(options["workers"], options["address"])
        quiet_libraries()
    crash_suspended = options["crash_suspended"]
    result = run(recipe, grace=grace, share=share, workers=workers, crash_suspended=crash_suspended)
    expected = projection(result) if result.recipe.limit else ()
    print()
    if result.changes:
        print(f"source, {result.changes.text()}; {result.reused_attempts:,} attempts reused\n")
    print(summary.text(result.summary, seconds=result.seconds, images=result.new_attempts, projection=expected))
    path = result.folder.path
    if share.only:
        print(f"\n{path} has the facts of share {share.machine}/{share.machines} and no export. Copy it to one machine")
        print(f"diffcore-hf merge {path} OTHER ... then unites the folders and exports")
        if result.signal is not None:
            print(f"\n{_signal_line(result, exported=False)}", flush=True)
        return 128 + result.signal if result.signal is not None else 0
    print(f"\n{path}/assets/contact_sheet.png shows real and generated images side by side")
    print(f"{path}/assets/similarity.png shows the similarities of these images")
    if result.recipe.filter.compare:
        print(f"{path}/assets/closest_pairs.png shows the generated images that are closest to another image")
    print(f"python -c \"from datasets import load_dataset; print(load_dataset('{path}'))\" reads the dataset")
    if result.signal is not None:
        print(f"\n{_signal_line(result)}", flush=True)
        return 128 + result.signal
    if result.stopped:
        raise UserError(result.stopped)
    return 0


def _signal_line(result: RunResult, *, exported: bool = True) -> str:
    """Return the line about a run that received a signal, and whose facts are saved."""
    name = signals.name_of(result.signal or 0)
    done = f"{name}: {result.new_attempts:,} new attempts are saved" + (" and exported" if exported else "")
    if not result.interrupted:
        return f"{done}, and no attempt is missing"
    return f"{done}; {result.summary.counts['pending']:,} units are pending. Run the same command again to resume"


def status(command: Command) -> int:
    from diffcore_hf.workflows.status import looks

    watch = command.options["watch"]
    try:
        for number, text in enumerate(looks(command.target, watch=watch)):
            print(f"\n{text}" if number else text, flush=True)
    except KeyboardInterrupt:
        if not watch:
            raise
    return 0


def preview(command: Command) -> int:
    from diffcore_hf.workflows.preview import preview

    options = command.options
    paths = preview(
        command.target,
        options["samples"],
        mixed=options["mixed"],
        batch=options["batch"],
        config=options["config"],
        flags=command.layer,
    )
    for path in paths:
        print(path)
    return 0


def describe(command: Command) -> int:
    from diffcore_hf.workflows.describe import describe

    result = describe(command.target, tower=command.options["tower"], json_file=command.options["json"])
    print(result.text)
    print(f"\n{result.sheet} shows the closest pairs of a real and a kept image")
    return 0


def explain(command: Command) -> int:
    from diffcore_hf.workflows.explain import explain_trainings

    explain_trainings(command.target, print, **command.options, changes=command.layer)
    return 0


def merge(command: Command) -> int:
    from diffcore_hf.augmentation import summary
    from diffcore_hf.workflows.merge import merge

    merged = merge(command.target, command.others)
    union, result = merged.union, merged.result
    print(summary.text(result.summary, seconds=result.seconds, images=0))
    print(f"\n{union.copied:,} parts were copied, and {union.present:,} were there already")
    for path in union.damaged:
        print(f"{str(path)!r} is damaged and was not copied. Its attempts are due again")
    if pending := result.summary.counts["pending"]:
        print(f"{pending:,} units need more attempts. Run augment with --output {command.target} again")
    print(f"the dataset is in {str(result.folder.path)!r}")
    return 0


def slurm(command: Command) -> int:
    from diffcore_hf.workflows.slurm import Job, script

    print(script(command.target, Job(**command.options)), end="")
    return 0


def push(command: Command) -> int:
    from diffcore_hf.workflows.push import push

    result = push(command.target, *command.others, **command.options)
    for path in result.changes.delete:
        print(f"delete  {path}")
    for path in result.changes.add:
        print(f"add     {path}")
    total = f"{len(result.changes.add)} files, {result.changes.size() / 1e6:,.1f} MB"
    repo = command.others[0]
    if command.options["dry_run"] and result.commit:
        print(f"\nnothing to send: {result.url} {result.version} is equal to this folder")
        return 0
    if command.options["dry_run"]:
        new_repository = (
            f", in a new repository ({repo} does not exist, or your token cannot read it)" if result.created else ""
        )
        print(f"\nnothing was sent: {result.version} would add {total}{new_repository}")
        return 0
    if result.pull_request:
        print(
            f"\n{result.pull_request} proposes {result.version}: {total}. Merge it, then push again without --create-pr"
        )
        return 0
    unchanged = "already published, the tag was set" if result.tagged else "already published, nothing was sent"
    print(f"\n{result.url} {result.version}: {total if result.changes else unchanged}")
    if (
        not result.changes
        and not result.tagged
        and (command.options["compare"] or command.options["originals_are_mine"])
    ):
        print(
            "--compare and --originals_are_mine had no effect, because a published version and its card never change. "
            "Push with a higher --version"
        )
    if result.private and command.options["public"]:
        print("--public applies to new repositories only. This repository existed and stays private")
    if result.private and result.reason_for_private:
        print(
            "the repository is private and should stay private: it contains the original images, "
            f"and {result.reason_for_private}"
        )
    elif result.private:
        print(f"the repository is private. Make it public with: hf repos settings {repo} --repo-type dataset --public")
    print(f'from datasets import load_dataset; load_dataset("{repo}", revision="{result.version}")')
    return 0


def versions(command: Command) -> int:
    from diffcore_hf.workflows.versions import versions

    listed = versions(command.target)
    if not listed:
        print(
            f"{command.target} has no version yet. "
            f"Publish one with diffcore-hf push OUT {command.target} --version v1.0.0"
        )
        return 0
    print(f"{'version':<14}{'rows':>10}{'kept':>10}  recipe")
    for version in listed:
        print(f"{version.tag:<14}{version.rows:>10,}{version.kept:>10,}  {version.recipe_digest[:16]}")
    return 0


def diff(command: Command) -> int:
    from diffcore_hf.workflows.diff import diff

    print(diff(command.target, *command.others).text())
    return 0


def verify(command: Command) -> int:
    from diffcore_hf.publishing.audit.report import what_is_correct
    from diffcore_hf.workflows.verify import verified

    result = verified(command.target, **command.options)
    for note in result.notes:
        print(f"note: {note}")
    print("\n".join(result.faults) or f"{command.target}: {what_is_correct(command.options)}")
    return 1 if result.faults else 0


def clean(command: Command) -> int:
    from diffcore_hf.core.folder import Folder

    freed = Folder(command.target).clean()
    print(f"{command.target}: parts deleted, {freed / 1e6:,.1f} MB freed. The run can no longer be resumed or exported")
    return 0


def miniature(command: Command) -> int:
    from diffcore_hf.core.quiet import quiet_datasets
    from diffcore_hf.miniature.world import World, write_dataset

    world = World(seed=command.options["seed"], contexts=command.options["contexts"])
    with quiet_datasets():
        write_dataset(command.target, world)
    next_command = _augment_miniature(command.target)
    print(f"{command.target}: train, validation and test of the miniature world. Next: {next_command}")
    return 0


def _augment_miniature(folder: str) -> str:
    """Return the command that augments the miniature world in a folder with the shipped recipe."""
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.config.output_names import default_output
    from diffcore_hf.config.recipe_files import read_recipe_file, shipped_recipe

    recipe_file = shipped_recipe("miniature")
    assert recipe_file is not None
    recipe = build_recipe(read_recipe_file(recipe_file))
    # A file or folder with the name of the recipe would be used instead of the recipe.
    words = ["diffcore-hf", "augment", str(recipe_file) if os.path.exists("miniature") else "miniature"]
    source = os.path.realpath(folder)
    if source != os.path.realpath(recipe.source.path):
        words += ["--source.path", folder]
    if Path(os.path.realpath(recipe.output or default_output(recipe))).is_relative_to(source):
        words += ["--output", os.path.relpath(f"{source}-augmented")]
    return shlex.join(words)


def quiet_libraries() -> None:
    """Turn off the warnings of the libraries, so that the terminal shows only the progress bar and the table."""
    import diffusers
    import transformers

    logging.captureWarnings(True)
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()


VERBS = {
    **{
        "plan": plan,
        "augment": augment,
        "status": status,
        "preview": preview,
        "describe": describe,
        "explain": explain,
        "export": export,
        "merge": merge,
        "slurm": slurm,
        "clean": clean,
        "miniature": miniature,
    },
    **{"push": push, "versions": versions, "diff": diff, "verify": verify},
}

if __name__ == "__main__":
    sys.exit(main())
