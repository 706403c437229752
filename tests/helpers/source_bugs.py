"""Bugs outside the decoders, each with the test that is there to see it.

They are planted in a copy of the sources, so that every process of a run has them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceBug:
    """``right`` occurs once in ``file``; ``wrong`` takes its place, and ``test`` fails."""

    name: str
    test: str
    file: str
    right: str
    wrong: str


SOURCE_BUGS = [
    SourceBug(
        "a torn last line is kept",
        "evaluation/test_run_files.py::test_a_torn_last_line_is_dropped_with_its_rounds",
        "pearl_eval/results/journal.py",
        "self._file.truncate(end)",
        "pass",
    ),
    SourceBug(
        "rounds of a prompt that was not finished are kept",
        "evaluation/test_run_files.py::test_a_torn_last_line_is_dropped_with_its_rounds",
        "pearl_eval/evaluation/run_files.py",
        "if len(kept) < len(rows):",
        "if False:",
    ),
    SourceBug(
        "finished prompts are decoded again",
        "commands/test_resume.py::test_finished_prompts_are_not_decoded_again",
        "pearl_eval/evaluation/run_files.py",
        "self.finished = self._with_rounds(self.records)",
        "self.finished = self._with_rounds([])",
    ),
    SourceBug(
        "a continued run chooses its draft length anew",
        "commands/test_resume.py::test_what_was_chosen_by_measuring_stays",
        "pearl_eval/evaluation/run_files.py",
        'self.settings = about.get("settings") if lines else None',
        "self.settings = None",
    ),
    SourceBug(
        "other weights are not noticed",
        "commands/test_resume.py::test_another_run_is_refused_saying_in_what_it_differs",
        "pearl_eval/evaluation/identity.py",
        "settings | weights | surroundings",
        "settings | surroundings",
    ),
    SourceBug(
        "two processes may be at work on one run",
        "evaluation/test_run_files.py::test_a_run_is_one_processes_at_a_time",
        "pearl_eval/results/journal.py",
        "    except BlockingIOError:\n        return False",
        "    except BlockingIOError:\n        return True",
    ),
    SourceBug(
        "a reference of another machine is read",
        "evaluation/test_reference.py::test_another_machine_or_version_is_refused",
        "pearl_eval/evaluation/reference.py",
        "        if differing:",
        "        if False:",
    ),
    SourceBug(
        "every run measures its own reference",
        "evaluation/test_reference.py::test_a_sweep_measures_its_reference_once",
        "pearl_eval/evaluation/reference.py",
        "if prompt.key in self._runs:",
        "if False:",
    ),
    SourceBug(
        "runs lock nothing",
        "commands/test_joblib.py::test_runs_at_once_never_share_a_core",
        "pearl_eval/evaluation/reservation.py",
        "    if runtime.share_devices:\n",
        "    if True:\n",
    ),
    SourceBug(
        "a waiting run takes fewer cores than it would have alone",
        "evaluation/test_reservation.py::test_a_run_never_makes_do_with_fewer_cores_than_it_would_have_alone",
        "pearl_eval/evaluation/reservation.py",
        "_count(needed) == _count(wanted) and ",
        "",
    ),
    SourceBug(
        "runs with different needs are one array",
        "commands/test_slurm_order.py::test_jobs_without_a_cached_reference_are_an_array_for_each_need",
        "pearl_eval/evaluation/slurm.py",
        "setdefault((awaited, repr(sorted(job.resources.items()))), [])",
        'setdefault((awaited, ""), [])',
    ),
    SourceBug(
        "who reads a reference does not wait for it",
        "commands/test_slurm.py::test_each_run_has_the_gpus_its_pair_asks_for_and_one_table_has_them_all",
        "pearl_eval/evaluation/slurm.py",
        'resources["dependency"] = f"afterany:{before}"',
        "pass",
    ),
    SourceBug(
        "the locks of cores are taken for temporary files",
        "commands/test_scratch.py::test_only_what_was_abandoned_is_removed",
        "pearl_eval/shell/scratch.py",
        '_PREFIX = "pearl-tmp-"',
        '_PREFIX = "pearl-eval-"',
    ),
    SourceBug(
        "W&B's service is waited for without a limit",
        "evaluation/test_tracking.py::test_a_service_that_hangs_is_one_warning_and_does_not_hold_up_the_end",
        "pearl_eval/tracking/wandb_tracker.py",
        "_within(self._config.finish_timeout + _MARGIN, action)",
        "action()",
    ),
    SourceBug(
        "a run that Slurm killed leaves no word",
        "commands/test_slurm.py::test_a_killed_run_of_a_whole_experiment_is_made_by_continuing_its_folder",
        "pearl_eval/evaluation/slurm.py",
        "if (told := read_error(self.folder)) is None:",
        "if (told := ['nothing']) is None:",
    ),
    SourceBug(
        "what was submitted runs although the rest was refused",
        "commands/test_slurm.py::test_what_the_cluster_cannot_give_is_refused_before_anything_runs",
        "pearl_eval/evaluation/slurm.py",
        "                handle.cancel()",
        "                pass",
    ),
    SourceBug(
        "a requeued run starts anew",
        "commands/test_slurm.py::test_a_run_that_had_to_make_way_goes_on_where_it_was",
        "pearl_eval/evaluation/run_files.py",
        "        lines = self._journal.read()\n",
        "        self._journal.keep(0)\n        lines = self._journal.read()\n",
    ),
    SourceBug(
        "a run stays ended after a preemption",
        "commands/test_slurm.py::test_a_run_that_had_to_make_way_goes_on_where_it_was",
        "conf/hydra/launcher/slurm_a100.yaml",
        "  requeue: true\n",
        "  no-requeue: true\n",
    ),
    SourceBug(
        "generated code has the network",
        "tasks/test_sandbox.py::test_hostile_code_fails_and_harms_nothing",
        "tasks/sandbox/sandbox.py",
        '"--unshare-net", ',
        "",
    ),
    SourceBug(
        "a credential in a URL is recorded",
        "commands/test_credentials.py::test_a_credential_is_refused_and_nowhere_written",
        "pearl_eval/shell/credentials.py",
        "    for what, pattern in _PATTERNS.items():\n        if pattern.search(value):",
        "    for what, pattern in _PATTERNS.items():\n        if False:",
    ),
    SourceBug(
        "the decoder's own forwards are not asked",
        "evaluation/test_equivalence.py::test_a_decoder_that_takes_nearly_the_best_is_a_violation_in_bfloat16",
        "pearl_eval/checks/equivalence.py",
        "            wrong = case.not_chosen(own)\n",
        '            wrong = ""\n',
    ),
    SourceBug(
        "forwards may err as much as they like",
        "evaluation/test_equivalence.py::test_a_forward_of_several_tokens_that_is_wrong_is_a_violation_that_says_so",
        "pearl_eval/checks/equivalence.py",
        "        if reason:\n            return _wrong_forward(case, precise, reason)\n",
        "",
    ),
    SourceBug(
        "forwards that are wrong widen what they are held to",
        "evaluation/test_equivalence.py::test_how_far_logits_may_be_off_in_forwards_that_are_not_known",
        "pearl_eval/checks/stand_ins.py",
        "    if uneven(found, dtype):\n        return by_rounding\n",
        "",
    ),
]
