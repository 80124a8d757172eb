# SPDX-License-Identifier: Apache-2.0
"""What a run prints: a line a step with its time, a line a host where a step takes long, failures in full."""

from __future__ import annotations

DOCUMENTATION = r"""
name: placer_progress
type: stdout
short_description: One line a step, with times
description:
  - Prints a heading for each play and one line for each task that changed something or took time, with the time since the start, what became of
    its hosts and how long it took. In a task that takes long each host gets a line of its own as it finishes.
  - Says nothing of what was skipped. Prints failures as the default callback does. With C(-v) everything is as in the default.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
options:
  short_s:
    description: A task that changed nothing and took less than this, in seconds, gets no line.
    type: float
    default: 0.5
    ini:
      - section: callback_placer_progress
        key: short_s
    env:
      - name: PLACER_PROGRESS_SHORT_S
  slow_s:
    description: A host that takes longer than this, in seconds, gets a line of its own.
    type: float
    default: 5
    ini:
      - section: callback_placer_progress
        key: slow_s
    env:
      - name: PLACER_PROGRESS_SLOW_S
"""

import time
from collections import Counter

from ansible import constants as C
from ansible.executor.task_result import CallbackTaskResult
from ansible.plugins.callback.default import CallbackModule as Default

WIDTH = 62


class CallbackModule(Default):
    """The default callback, with one line where it prints a paragraph."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "placer_progress"

    def __init__(self) -> None:
        super().__init__()
        self._run_started = time.monotonic()
        self._task_started = self._run_started
        self._task_name = ""
        self._heading = ""
        self._outcomes: Counter[str] = Counter()
        self._hosts = 0
        self._silent = False

    @property
    def _quiet(self) -> bool:
        return self._display.verbosity == 0

    def _line(self, text: str, since: float, color: str | None = None) -> None:
        now = time.monotonic()
        self._display.display(
            f"[{now - self._run_started:5.0f} s] {text:<{WIDTH}} {now - since:6.1f} s", color=color
        )

    def _end_task(self) -> None:
        """Print the line of the task that just ended, if it changed anything or took time, and before it the play's heading."""
        took = time.monotonic() - self._task_started
        if "changed" in self._outcomes or (self._outcomes and took >= self.get_option("short_s")):
            if self._heading:
                self._display.display(f"\n{self._heading}", color=C.COLOR_HIGHLIGHT)
                self._heading = ""
            what = ", ".join(
                f"{count} {outcome}" for outcome, count in sorted(self._outcomes.items())
            )
            color = C.COLOR_CHANGED if "changed" in self._outcomes else C.COLOR_OK
            self._line(f"{self._task_name}: {what}", self._task_started, color)
        self._outcomes = Counter()

    # --- what begins ---

    def v2_playbook_on_play_start(self, play) -> None:
        if not self._quiet:
            return super().v2_playbook_on_play_start(play)
        self._end_task()
        self._play = play
        self._heading = play.get_name().strip()

    def _begin_task(self, task) -> None:
        self._end_task()
        self._task_started = time.monotonic()
        self._hosts = 0
        self._task_name = task.get_name().strip()
        # A role's own look at its arguments is no step of anybody's.
        self._silent = task.action.endswith("validate_argument_spec")
        # What the default callback prints before a failure.
        self._last_task_name = self._task_name

    def v2_playbook_on_task_start(self, task, is_conditional) -> None:
        if not self._quiet:
            return super().v2_playbook_on_task_start(task, is_conditional)
        self._begin_task(task)

    def v2_playbook_on_handler_task_start(self, task) -> None:
        if not self._quiet:
            return super().v2_playbook_on_handler_task_start(task)
        self._begin_task(task)

    def v2_playbook_on_cleanup_task_start(self, task) -> None:
        if not self._quiet:
            return super().v2_playbook_on_cleanup_task_start(task)
        self._begin_task(task)

    def v2_playbook_on_include(self, included_file) -> None:
        if not self._quiet:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_start(self, host, task) -> None:
        self._hosts += 1
        if not self._quiet:
            super().v2_runner_on_start(host, task)

    # --- what became of it ---

    def _done(self, result: CallbackTaskResult, outcome: str) -> None:
        if self._silent:
            return
        self._outcomes[outcome] += 1
        slow_s = self.get_option("slow_s")
        if self._hosts > 1 and time.monotonic() - self._task_started > slow_s:
            self._line(f"  {result.host.get_name()}: {self._task_name}", self._task_started)

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        # A debug task has something to say to whoever runs this; so has one that asks for it.
        if not self._quiet or result.result.get("_ansible_verbose_always"):
            return super().v2_runner_on_ok(result)
        self._handle_warnings_and_exception(result)
        if self.get_option("display_ok_hosts"):
            self._done(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_item_on_ok(self, result: CallbackTaskResult) -> None:
        if not self._quiet:
            super().v2_runner_item_on_ok(result)

    def v2_runner_on_skipped(self, result: CallbackTaskResult) -> None:
        if not self._quiet:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result: CallbackTaskResult) -> None:
        if not self._quiet:
            super().v2_runner_item_on_skipped(result)

    def v2_runner_retry(self, result: CallbackTaskResult) -> None:
        if not self._quiet:
            super().v2_runner_retry(result)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        if not self._quiet:
            super().v2_playbook_on_no_hosts_matched()

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        if self._quiet:
            self._line(
                f"FAILED {result.host.get_name()}: {self._task_name}",
                self._task_started,
                C.COLOR_ERROR,
            )
        super().v2_runner_on_failed(result, ignore_errors)

    # --- the end ---

    def v2_playbook_on_stats(self, stats) -> None:
        if not self._quiet:
            return super().v2_playbook_on_stats(stats)
        self._end_task()
        sums: Counter[str] = Counter()
        for host in stats.processed:
            summary = stats.summarize(host)
            for key in ("ok", "changed", "failures", "unreachable"):
                sums[key] += summary[key]
        bad = sums["failures"] + sums["unreachable"]
        self._display.display("")
        self._line(
            f"changed={sums['changed']} failed={sums['failures']} unreachable={sums['unreachable']} "
            f"on {len(stats.processed)} hosts",
            self._run_started,
            C.COLOR_ERROR if bad else C.COLOR_OK,
        )
