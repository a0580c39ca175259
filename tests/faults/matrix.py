"""The fault matrix: what can go wrong, what happens then, and the tests that show it. docs/faults.md is made of it.

``python tests/faults/matrix.py > docs/faults.md`` writes it.
"""

# ruff: noqa: E501 - a table
from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HEAD = """# What can go wrong, and what happens then

Made from tests/faults/matrix.py by `python tests/faults/matrix.py > docs/faults.md`; a test checks that it is current.
Verdicts and exit statuses are those of the README. No fault ends with exit status 0 unless its row says that it is
only noted. Numbers are stable: tests and issues refer to them.
"""
STORE, STORES, MACHINE = "faults/test_store_session.py", "faults/test_store_faults.py", "faults/test_machine_faults.py"
SESSIONS, WORKERS, BASELINES = (
    "faults/test_session_faults.py", "faults/test_worker_faults.py", "unit/test_baselines.py",
)  # fmt: skip
SERVING = "faults/test_serving_faults.py"
VERDICTS, ONNX, TF = "plugin/test_verdicts.py", "unit/test_engines_onnxruntime.py", "unit/test_engines_tensorflow.py"


class Row(NamedTuple):
    """One fault; ``tests`` are ``file::function`` below tests/."""

    number: int
    fault: str
    behaviour: str
    tests: tuple[str, ...]


def _row(number: int, fault: str, behaviour: str, *tests: str) -> Row:
    return Row(number, fault, behaviour, tests)


_DAMAGE = f"{STORE}::test_damage_ends_the_session_before_measuring"
_STATE, _WINDOW = f"{MACHINE}::test_state", f"{MACHINE}::test_window"
MACHINES = "faults/test_machine_session.py"
_EXIT_4 = f"{MACHINES}::test_exit_4_before_any_engine"
_UNFIT = f"{MACHINES}::test_a_machine_that_stays_unfit_is_waited_for_and_then_inconclusive"
_ONE = f"{SESSIONS}::test_exactly_one_test_is_affected"

SECTIONS: dict[str, tuple[Row, ...]] = {
    "A. Baselines": (
        _row(1, "a baseline file cut off at any byte", "exit 4 with file:line:column and the `git checkout` that restores it",
             _DAMAGE, f"{BASELINES}::test_truncated_at_any_byte_is_refused_with_its_place"),
        _row(2, "merge conflict marks in it", "exit 4, offers `gpuperf merge`",
             _DAMAGE, f"{BASELINES}::test_merge_marks_are_named_with_the_command_that_merges"),
        _row(3, "an empty file, a byte-order mark, another encoding, NUL bytes",
             "exit 4 with line and column; CRLF line ends are accepted",
             _DAMAGE, f"{BASELINES}::test_what_is_not_json_is_refused_with_line_and_column",
             f"{BASELINES}::test_carriage_returns_are_accepted"),
        _row(4, "NaN, infinity, 1e400, negative or zero times", "exit 4 with the place",
             _DAMAGE, f"{BASELINES}::test_numbers_that_are_none_are_refused_with_their_place",
             f"{BASELINES}::test_wrong_fields_are_named_with_their_json_path"),
        _row(5, "a key that stands twice", "exit 4 with the place of the second",
             _DAMAGE, f"{BASELINES}::test_a_key_that_stands_twice_is_refused_however_it_is_spelled"),
        _row(6, "deep nesting, a huge file, a huge number", "exit 4 at once, before it is parsed",
             _DAMAGE, f"{BASELINES}::test_deep_nesting_is_refused_at_once",
             f"{BASELINES}::test_a_huge_file_is_refused_unread",
             f"{BASELINES}::test_a_number_of_ten_million_digits_is_refused_before_it_is_parsed"),
        _row(7, "written by a newer version", "exit 4, says to upgrade; the file is not touched",
             _DAMAGE, f"{BASELINES}::test_newer_schema_is_refused"),
        _row(8, "written by an older version", "read as if it were new; rewritten with the next accepted change only",
             f"{BASELINES}::test_every_version_reads_as_the_newest_does"),
        _row(9, "an unknown or missing field, a wrong type", "exit 4 with the JSON path",
             _DAMAGE, f"{BASELINES}::test_wrong_fields_are_named_with_their_json_path"),
        _row(10, "no baseline for this test", "`new`: fails in CI, warns elsewhere",
             f"{VERDICTS}::test_new_cases_warn_on_a_laptop_and_fail_in_ci"),
        _row(11, "a baseline whose test is gone", "listed as unused with the command that removes it; never after partial runs",
             "unit/test_orphans.py::test_entries_whose_test_is_gone_are_unused"),
        _row(12, "a test that was renamed", "`new`, and the pair is named with the `gpuperf baseline mv` that joins them",
             "unit/test_orphans.py::test_a_renamed_test_is_recognised_by_its_conditions"),
        _row(13, "kill -9 while a baseline is written", "the old file or the new one; what is left over is swept later",
             f"{STORES}::test_killed_writers_leave_whole_files_and_what_they_left_is_swept",
             f"{STORES}::test_the_next_update_sweeps_what_a_killed_writer_left"),
        _row(14, "a full disk or quota", "the old file stays; the message says how many bytes are needed",
             f"{STORES}::test_a_full_disk_keeps_the_old_file_and_says_what_is_missing"),
        _row(15, "a read-only checkout", "pending results go to --gpu-out, and the message says so",
             f"{STORES}::test_a_read_only_checkout_keeps_the_pending_results_and_says_where"),
        _row(16, "two processes update one file", "both changes land; a lock that hangs is named with its holder",
             f"{STORES}::test_writers_at_the_same_time_lose_nothing", f"{STORES}::test_a_hanging_writer_is_named"),
        _row(17, "all xdist workers update", "workers measure, the controller writes",
             f"{STORE}::test_row17_workers_measure_and_the_controller_writes"),
        _row(18, "two machines of one profile", "files merge by case, whichever comes first",
             f"{BASELINES}::test_merging_is_commutative_associative_and_idempotent"),
        _row(19, "symbolic links out of the repository, `../` or very long case ids", "refused",
             f"{BASELINES}::test_symbolic_links_are_refused", f"{BASELINES}::test_dangerous_case_ids_are_refused"),
        _row(20, "a baseline of another GPU, driver or engine", "`not_comparable`, or wider limits, with the differences named",
             f"{STORE}::test_row20_a_baseline_of_another_engine_version_is_not_comparable",
             "unit/test_conditions.py::test_what_widens_is_named_and_doubles_the_tolerance"),
        _row(21, "a number edited by hand", "exit 4: the samples do not support it",
             f"{STORE}::test_row21_a_number_that_its_samples_do_not_support_is_refused",
             f"{BASELINES}::test_a_hand_edited_number_is_refused"),
        _row(22, "--gpu-update in CI", "exit 4, unless --gpu-update-in-ci allows pending files",
             f"{VERDICTS}::test_update_is_refused_in_ci"),
        _row(23, "--gpu-update of a case that could not be measured", "no pending entry; the summary says why",
             f"{STORE}::test_row23_what_could_not_be_measured_is_not_proposed",
             "unit/test_approval.py::test_untrustworthy_cases_are_never_proposed"),
    ),
    "B. GPU, driver, machine": (
        _row(24, "no NVML library, no driver", "exit 4 for a GPU profile; `auto` takes the CPU and says why",
             _EXIT_4, f"{MACHINE}::test_driver_fault", f"{MACHINE}::test_row24_no_nvml_library"),
        _row(25, "kernel driver and NVML library differ", "exit 4: reboot or reload the driver",
             _EXIT_4, f"{MACHINE}::test_driver_fault"),
        _row(26, "another GPU than the profile's", "exit 4 before any engine is imported, with what was found",
             _EXIT_4, f"{MACHINE}::test_row26_another_gpu", f"{MACHINE}::test_row26_another_memory_size",
             f"{MACHINE}::test_row26_mig_mode"),
        _row(27, "fewer GPUs than the profile's", "exit 4: a card fell off the bus, drain the runner",
             _EXIT_4, f"{MACHINE}::test_row27_fewer_gpus", f"{MACHINE}::test_row27_no_gpu_at_all"),
        _row(28, "the GPU is lost, also in the middle of a case", "`infra`, with a hint to quarantine the runner; no further case is measured on it",
             f"{MACHINES}::test_row28_no_case_is_measured_on_a_lost_gpu", _STATE, _WINDOW, f"{MACHINE}::test_row28_probe_crashes"),
        _row(29, "Xid 48, 79, 94, 95; uncorrectable ECC; row remapping", "`infra` with NVIDIA's recovery action; others noted",
             _STATE, _WINDOW),
        _row(30, "corrected ECC errors", "noted", _STATE),
        _row(31, "clocks held down by heat, power or hardware", "waited for, measured once more, then `inconclusive` with the reason's name",
             _UNFIT, _STATE, _WINDOW),
        _row(32, "a power cap that the baseline had too", "noted", _STATE, _WINDOW,
             f"{MACHINE}::test_row32_power_cap_that_the_baseline_did_not_have"),
        _row(33, "clocks or persistence not set", "noted; nothing here needs root", _STATE),
        _row(34, "another process on the GPU", "waited for, then `inconclusive` with its pid, or that a container hides it",
             _UNFIT, _STATE, _WINDOW, f"{MACHINE}::test_row34_processes_of_another_pid_namespace_may_be_our_own"),
        _row(35, "exclusive or prohibited compute mode", "`infra` when somebody else has the GPU", _STATE),
        _row(36, "MIG is on", "what NVML does not tell is null, never 0; all else goes on", _STATE,
             f"{MACHINE}::test_row36_unavailable_is_none_and_never_zero"),
        _row(37, "CUDA_VISIBLE_DEVICES names, hides or reorders GPUs", "measured by UUID; what is ambiguous or absent is exit 4",
             _EXIT_4, f"{MACHINE}::test_row37_visible_by_uuid_and_order",
             f"{MACHINE}::test_row37_cases_run_on_the_first_gpu_that_cuda_sees",
             f"{MACHINE}::test_row37_mixed_cards_by_index_are_ambiguous"),
        _row(38, "an NVML call hangs", "the probe gives up: exit 4; the sampler drops that value and goes on",
             f"{MACHINE}::test_row38_probe_hangs", f"{MACHINE}::test_row38_one_call_hangs_and_the_others_go_on"),
        _row(39, "the sampler dies or misses samples", "its means are null; latency stands", f"{MACHINE}::test_row39_sampler_dies",
             "unit/test_telemetry.py::test_means_of_a_sampler_that_missed_too_much_are_unavailable"),
        _row(40, "the host's clock jumps", "nothing: only monotonic clocks are read; wall time is a label",
             "faults/test_matrix.py::test_row40_wall_time_is_never_subtracted"),
        _row(41, "a narrow PCIe link, replays, a small /dev/shm", "noted", _STATE,
             "unit/test_doctor.py::test_small_shared_memory_is_noted"),
        _row(42, "variables that slow CUDA down", "named in the header; no baseline is written",
             f"{MACHINE}::test_row42_environment_that_slows_cuda_down",
             f"{VERDICTS}::test_a_variable_that_slows_cuda_down_keeps_baselines_from_being_written"),
    ),
    "C. Engines, models, data": (
        _row(43, "ONNX Runtime falls back to the CPU", "`config` before timing, with what it was asked for and is",
             f"{ONNX}::test_cuda_that_is_not_there_is_refused", f"{ONNX}::test_cuda_that_silently_became_cpu_is_refused"),
        _row(44, "both ONNX Runtime wheels installed", "`gpuperf doctor` fails with the commands that mend it",
             "unit/test_doctor.py::test_unfit_packages"),
        _row(45, "TensorFlow sees no GPU", "`config` before timing", f"{TF}::test_a_gpu_that_is_not_there_is_refused",
             f"{TF}::test_results_on_another_device_are_refused"),
        _row(46, "a TensorRT engine of another GPU or version", "`config`: expected and found",
             "unit/test_tensorrt_runtime.py::test_an_engine_of_another_gpu_says_what_was_expected",
             "unit/test_tensorrt_runtime.py::test_a_refusal_of_tensorrt_is_an_error"),
        _row(47, "an engine or model file that is not what was built", "built again and said so; another graph is `not_comparable`",
             "unit/test_tensorrt_store.py::test_an_engine_with_another_sha256_is_built_again",
             "unit/test_convert_cache.py::test_a_damaged_entry_is_made_again_and_that_is_said",
             "unit/test_conditions.py::test_an_artefact_of_an_unknown_origin_must_be_the_same_file"),
        _row(48, "a truncated or garbage model", "`config` naming the file; a crash of the loader costs one test",
             f"{ONNX}::test_a_damaged_graph_is_named", f"{TF}::test_a_damaged_savedmodel_is_named", _ONE),
        _row(49, "an ONNX file that points to other files", "`config` before any library follows it",
             "faults/test_model_faults.py::test_row49_external_data_is_refused_before_any_library_follows_it"),
        _row(50, "pickled objects in stored arrays", "refused, never unpickled",
             "unit/test_bundle.py::test_objects_are_never_unpickled"),
        _row(52, "NaN or infinity in outputs", "`inaccurate`, with tensor, count and first index",
             f"{VERDICTS}::test_nan_is_named_with_tensor_count_and_index", "unit/test_accuracy.py::test_one_nan_in_64_samples_is_named"),
        _row(53, "other shapes, types or labels than expected; no samples", "`config`: what fits",
             "unit/test_accuracy.py::test_input_errors_say_what_fits", "unit/test_inputs.py::test_bad_requests"),
        _row(54, "outputs right when evaluated and wrong when timed", "`inaccurate`: the numbers are void",
             f"{WORKERS}::test_row_59_outputs_that_change_while_they_are_timed_void_the_numbers",
             "unit/test_tensorrt_runtime.py::test_runs_compute_anew"),
        _row(55, "out of device memory", "one failed test; the process ends, so that memory returns", _ONE,
             f"{WORKERS}::test_row_55_out_of_memory_ends_the_child_so_that_memory_returns"),
        _row(56, "an error that poisons the CUDA context", "one failed test; the next one gets a fresh process", _ONE,
             f"{WORKERS}::test_row_56_a_poisoned_process_is_replaced_and_its_traceback_kept"),
        _row(57, "segfault, abort, OOM killer, SIGTERM, `os._exit(0)`", "one `infra` test with signal and last stack", _ONE,
             f"{WORKERS}::test_row_57_a_death_is_named_with_the_last_stack"),
        _row(58, "a hang in native code", "stacks dumped, the process group ended within five seconds of its deadline", _ONE,
             f"{WORKERS}::test_row_58_a_hang_ends_within_its_deadline_and_five_seconds",
             f"{WORKERS}::test_row_58_grandchildren_end_with_the_group_even_if_they_ignore_sigterm",
             f"{WORKERS}::test_row_58_no_orphan_when_the_parent_is_killed"),
        _row(59, "too few samples, no variance, a warm-up that never settles", "`inconclusive` with the numbers",
             f"{WORKERS}::test_row_59_a_warm_up_that_never_settles_is_a_status_with_its_numbers",
             "unit/test_measurement.py::test_a_percentile_needs_enough_calls_for_its_bounds"),
    ),
    "D. Session and CI": (
        _row(60, "SIGINT, SIGTERM or SIGKILL to pytest", "results.json on the first two; after SIGKILL `gpuperf report --resume`",
             f"{SESSIONS}::test_row60_a_cancelled_run_writes_what_it_has",
             f"{SESSIONS}::test_row60_a_killed_run_is_rebuilt_from_its_journal"),
        _row(61, "an xdist worker dies", "its test fails, all other results stay",
             f"{SESSIONS}::test_row61_a_dead_xdist_worker_costs_its_own_test"),
        _row(62, "two processes on one GPU", "one waits for the other, by the GPU's UUID",
             f"{WORKERS}::test_row_62_two_processes_never_measure_on_one_device_at_once"),
        _row(63, "a run that measured nothing", "fails in CI, and under --gpu-require=N",
             f"{VERDICTS}::test_require_fails_a_session_that_measured_too_little",
             f"{VERDICTS}::test_a_run_in_ci_that_measured_nothing_fails_unless_asked"),
        _row(67, "a model server that ends, crashes, finds its port taken or is never ready; one that dies under load",
             "`infra` with how it ended and what its log says; nothing of it is left, also when pytest is killed",
             f"{SERVING}::test_row67_a_server_that_does_not_start_says_why",
             f"{SERVING}::test_row67_a_server_that_is_never_ready_is_ended",
             f"{SERVING}::test_row67_a_server_that_dies_under_load_is_named",
             f"{SERVING}::test_row67_nothing_is_left_of_a_server_that_was_stopped",
             f"{SERVING}::test_row67_no_orphan_when_the_parent_is_killed"),
        _row(68, "a model server that loses, garbles, delays or refuses requests",
             "counted by kind and judged as `error_rate`, wrong answers as `inaccurate`; a lost one is given up after its deadline",
             f"{SERVING}::test_row68_what_a_server_does_wrong_is_counted_by_its_name",
             "serving/test_traffic.py::test_row68_a_lost_response_ends_in_a_watchdog",
             "serving/test_traffic.py::test_row68_a_server_that_answers_nothing_is_given_up",
             "serving/test_service.py::test_row68_errors_and_wrong_answers_fail_the_case"),
        _row(69, "LoadGen says VALID and its detail log has an error; an `audit.config` lies about",
             "`inconclusive`, with what the log says; every run has a folder of its own",
             "serving/test_detail.py::test_row69_valid_with_an_error_has_a_problem",
             "serving/test_service.py::test_row69_problems_in_the_log_are_inconclusive",
             "serving/test_traffic.py::test_row69_each_run_has_a_folder_of_its_own_and_no_audit_config"),
        _row(70, "markup in test and model names", "shown, never obeyed",
             "unit/report/test_html.py::test_hostile_names_are_words_and_nothing_else",
             "unit/report/test_markdown.py::test_hostile_names_stay_in_their_cell"),
        _row(71, "workflow commands in names", "escaped", "unit/report/test_annotations.py::test_no_name_can_start_another_command"),
        _row(72, "summaries beyond the platforms' limits", "worst first, the rest counted",
             "unit/report/test_markdown.py::test_summary_of_5000_cases_fits"),
        _row(74, "a bug of our own while writing", "exit 3; the journal has the verdicts",
             f"{SESSIONS}::test_row74_an_error_of_our_own_while_writing_is_no_success"),
        _row(76, "baselines that nobody owns", "`gpuperf doctor` says so, also of lines that protect nothing",
             "unit/test_doctor.py::test_row76_baselines_are_not_owned",
             "unit/test_doctor.py::test_row76_bad_line_drops_its_protection"),
        _row(77, "secrets in the environment", "an allow-list decides what the measuring processes see",
             "unit/test_worker_client.py::test_secrets_do_not_reach_the_child"),
    ),
}  # fmt: skip
#: Rows that are not the machine's: why they have no test here.
ELSEWHERE = {
    51: "models are programs: only what a test names is loaded, and CODEOWNERS guards tests",
    64: "several machines", 65: "several machines", 66: "several machines: rsync is not offered",
    73: "reports: `tests/unit/report`", 75: "CI templates",
}  # fmt: skip


def document() -> str:
    """Return docs/faults.md."""
    lines = [HEAD]
    for title, rows in SECTIONS.items():
        lines += [f"## {title}", "", "| # | fault | what happens | test |", "|---|---|---|---|"]
        lines += [
            f"| {row.number} | {row.fault} | {row.behaviour} | {'<br>'.join(f'`{test}`' for test in row.tests)} |"
            for row in rows
        ]
        lines.append("")
    lines += ["## Not here", "", *(f"- {number}: {why}" for number, why in ELSEWHERE.items())]
    return "\n".join(lines) + "\n"


def functions(file: str) -> set[str]:
    """Return the names of a test file's functions."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


if __name__ == "__main__":
    print(document(), end="")
