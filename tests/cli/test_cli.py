# SPDX-License-Identifier: Apache-2.0
"""Rules that every command keeps: help, errors, exit status, completion."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import harness


class Help(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.tables = self.mvm_json("help")

    def every_command(self):
        for command in self.tables["commands"]:
            with self.subTest(command["name"]):
                yield command, command["name"].split()

    def test_closed_standard_streams_are_no_files_of_ours(self):
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$0" events -f <&- >&- 2>&-', harness.MVM],
            env=self.environment(), cwd=self.folder)
        try:
            watch = f"/proc/{process.pid}/fd"
            deadline = time.monotonic() + harness.PATIENCE_S
            def follows():
                try:
                    return any("inotify" in os.readlink(f"{watch}/{fd}")
                               for fd in os.listdir(watch))
                except FileNotFoundError:
                    return False # a descriptor was closed meanwhile
            while not follows() and time.monotonic() < deadline:
                time.sleep(0.02)
            self.assertEqual([os.readlink(f"{watch}/{fd}") for fd in (0, 1, 2)], ["/dev/null"] * 3)
        finally:
            process.kill()
            process.wait(harness.PATIENCE_S)

    def test_a_data_folder_is_never_guessed(self):
        for home in ("", "relative"):
            done = self.mvm("ps", env={"HOME": home, "MVM_DATA_DIR": ""}, status=3)
            self.assertIn("HOME is not set", done.stderr)
        self.mvm_fails(2, "--data-dir", "", "ps", says="--data-dir")
        self.mvm_fails(2, "ps", "--data-dir=", says="--data-dir")

    def test_there_is_help_for_every_command_on_80_columns(self):
        for command, words in self.every_command():
            text = self.mvm_ok("help", *words)
            self.assertIn(command["summary"], text)
            self.assertEqual([line for line in text.splitlines() if len(line) > 80], [])
            for option in command["options"]:
                self.assertIn("--" + option["name"], text)
            self.assertEqual(text, self.mvm_ok(*words, "--help"))
            self.assertEqual(text, self.mvm_ok(*words, "-h"))

    def test_help_without_a_command_lists_all_on_80_columns(self):
        text = self.mvm_ok("help")
        self.assertEqual([line for line in text.splitlines() if len(line) > 80], [])
        self.assertEqual(text, self.mvm_ok("--help"))
        for command, _ in self.every_command():
            self.assertIn(f"\n  {command['name']} ", text)

    def test_a_group_lists_its_commands(self):
        groups = {c["name"].split()[0] for c in self.tables["commands"] if " " in c["name"]}
        for group in groups:
            with self.subTest(group):
                text = self.mvm_ok("help", group)
                self.assertEqual(text, self.mvm_ok(group, "--help"))
                self.assertEqual(self.mvm_fails(2, group), text)
                for command, words in self.every_command():
                    self.assertEqual(words[0] == group and len(words) == 2,
                                     f"\n  {command['name']} " in text)

    def test_tables_are_well_formed(self):
        for command, _ in self.every_command():
            self.assertRegex(command["summary"], r"^[A-Z].*[^.]$")
            options = command["options"] + self.tables["global_options"]
            names = [option["name"] for option in options]
            letters = [option["letter"] for option in options if "letter" in option]
            self.assertEqual(len(names), len(set(names)))
            self.assertEqual(len(letters), len(set(letters)))
            for option in options:
                self.assertRegex(option["name"], r"^[a-z0-9-]+$")
                self.assertRegex(option["help"], r"^[^A-Z].*[^.]$")
                self.assertEqual("value" in option, option["kind"] != "flag", option)
                self.assertEqual("choices" in option, option["kind"] == "choice", option)
            optional = [argument["optional"] for argument in command["arguments"]]
            self.assertEqual(optional, sorted(optional))
            many = [argument["many"] for argument in command["arguments"]]
            self.assertFalse(any(many[:-1]))

    def test_an_unknown_option_names_the_nearest_and_the_help(self):
        for command, words in self.every_command():
            says = self.mvm_fails(2, *words, "--hepl", says="did you mean '--help'?")
            self.assertIn(f"see 'mvm help {command['name']}'", says)

    def test_a_missing_argument_is_named(self):
        for command, words in self.every_command():
            needed = [a for a in command["arguments"] if not a["optional"]]
            if needed:
                self.mvm_fails(2, *words, says=needed[0]["name"] + " is missing")

    def test_too_many_arguments_are_refused(self):
        for command, words in self.every_command():
            if any(a["many"] for a in command["arguments"]) or command["rest_required"]:
                continue # later words belong to them
            choices = [a.get("choices", ["x"])[0] for a in command["arguments"]]
            self.mvm_fails(2, *words, *choices, "surplus", says="'surplus' is one argument too")


class Interrupted(harness.TestCase):
    def test_the_prompt_after_an_interrupt_begins_a_line(self):
        for words in (["events", "-f"], ["stats", "--watch"]):
            with self.subTest(words):
                ours, theirs = pty.openpty()
                process = subprocess.Popen([harness.MVM, *words], env=self.environment(),
                                           stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
                                           preexec_fn=lambda: (os.setsid(), fcntl.ioctl(
                                               0, termios.TIOCSCTTY, 0)))
                os.close(theirs)
                self.addCleanup(process.stdout.close)
                with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                    while True: # it blocks SIGINT once it is ready
                        status.seek(0)
                        mask = re.search(r"SigBlk:\s*(\w+)", status.read()).group(1)
                        if int(mask, 16) & (1 << (signal.SIGINT - 1)):
                            break
                        time.sleep(0.01)
                os.write(ours, b"\x03")
                shown = b""
                while not shown.endswith(b"^C\r\n"):
                    shown += os.read(ours, 1024)
                self.assertEqual(process.wait(harness.PATIENCE_S), 0)
                os.close(ours)


class Errors(harness.TestCase):
    def test_no_command_shows_the_list_and_is_a_usage_error(self):
        self.assertIn("COMMAND", self.mvm_fails(2))

    def test_a_misspelt_command_names_the_nearest(self):
        self.mvm_fails(2, "verison", says="unknown command 'verison', did you mean 'version'?")
        self.mvm_fails(2, "help", "verison", says="did you mean 'version'?")

    def test_a_command_without_its_group_is_found(self):
        for word, path in ("build", "template build"), ("serve", "pool serve"), ("stpo", "stop"):
            self.mvm_fails(2, word, says=f"unknown command '{word}', did you mean '{path}'?")
        self.assertNotIn("did you mean", self.mvm_fails(2, "foo"))

    def test_an_unknown_command_says_where_help_is(self):
        self.mvm_fails(2, "qqqqqqqq", says="see 'mvm help'")

    def test_json_errors_are_one_object(self):
        error = json.loads(self.mvm_fails(2, "version", "--jsn", "--json"))["error"]
        self.assertEqual(error["code"], "EINVAL")
        self.assertEqual(error["exit_status"], 2)
        self.assertIn("did you mean", error["message"])
        self.assertEqual(error["hint"], "see 'mvm help version'")

    def test_a_value_that_is_missing_is_an_error(self):
        self.mvm_fails(2, "--data-dir", says="option '--data-dir' needs a value")

    def test_a_variable_without_a_value_fails_before_anything_starts(self):
        for command in (("run", "-T", "web"), ("exec", "web-1")):
            for variable in ("A", "=1"):
                self.mvm_fails(2, *command, "-e", variable, "--", "true",
                               says=f"option '--env': '{variable}' is not NAME=VALUE")

    def test_help_for_an_unknown_command_repeats_its_name(self):
        self.mvm_fails(2, "help", "template", "frobnicate",
                       says="no such command: 'template frobnicate'")
        self.assertEqual(self.mvm("help", "frobnicate", status=2).stderr,
                         "mvm: no such command: 'frobnicate'\nhint: see 'mvm help'\n")

    def test_a_flag_takes_no_value(self):
        self.mvm_fails(2, "version", "--json=yes", says="option '--json' takes no value")

    def test_control_characters_do_not_reach_the_terminal(self):
        self.assertNotIn("\x1b", self.mvm_fails(2, "\x1b[31mred"))

    def test_a_full_disk_is_reported(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full")
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([harness.MVM, "version"], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False, timeout=300)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write the result: No space left on device", done.stderr)


class Version(harness.TestCase):
    def test_the_version_is_a_line_or_json(self):
        version = self.mvm_json("version")["version"]
        self.assertRegex(version, r"^\d+\.\d+\.\d+")
        self.assertEqual(self.mvm_ok("version"), f"mvm {version}\n")
        self.assertEqual(self.mvm_ok("--version"), f"mvm {version}\n")


class Completion(harness.TestCase):
    def test_every_command_and_option_is_completed_in_every_shell(self):
        tables = self.mvm_json("help")
        for shell in ("bash", "zsh", "fish"):
            script = self.mvm_ok("completion", shell)
            for command in tables["commands"]:
                with self.subTest(shell=shell, command=command["name"]):
                    self.assertIn(command["name"].split()[-1], script)
                    for option in command["options"] + tables["global_options"]:
                        dashes = "-l " if shell == "fish" else "--"
                        self.assertIn(dashes + option["name"], script)

    def test_an_unknown_shell_is_a_usage_error(self):
        self.mvm_fails(2, "completion", "tcsh", says="'tcsh' is not bash, zsh or fish")

    def check_syntax(self, shell):
        script = self.write("script", self.mvm_ok("completion", shell))
        subprocess.run([shell, "-n", script], check=True, timeout=300)

    @harness.needs_program("bash")
    def test_bash_reads_its_script(self):
        self.check_syntax("bash")

    @harness.needs_program("zsh")
    def test_zsh_reads_its_script(self):
        self.check_syntax("zsh")

    @harness.needs_program("fish")
    def test_fish_reads_its_script(self):
        self.check_syntax("fish")

    def make_two_folders(self):
        other = self.path("other")
        os.makedirs(os.path.join(self.data_dir, "templates", "web"))
        os.makedirs(os.path.join(other, "templates", "db"))
        return other

    @harness.needs_program("fish")
    def test_fish_completes_names_values_and_files(self):
        other = self.make_two_folders()
        script = self.write("script", self.mvm_ok("completion", "fish"))
        for line, offered in (
                ("mvm vers", ["version"]),
                ("mvm run --restart ", ["always", "no", "on-failure", "unless-stopped"]),
                ("mvm run --cold -T ", ["web"]),
                ("mvm run -e ", []),
                ("mvm kill -s H", ["HUP"]),
                ("mvm help vers", ["version"]),
                ("mvm help template inf", ["info"]),
                ("mvm template info ", ["web"]),
                (f"mvm --data-dir {other} template inf", ["info"]),
                (f"mvm --data-dir {other} template info ", ["db"]),
                (f"mvm template info --data-dir={other} ", ["db"]),
                ("mvm kernel add scr", ["script"])):
            with self.subTest(line):
                done = subprocess.run(
                    ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
                    text=True, check=True, capture_output=True, env=self.environment(),
                    cwd=os.path.dirname(script), timeout=300)
                words = [row.split("\t")[0] for row in done.stdout.splitlines()]
                self.assertEqual(words, offered, done.stderr)

    @harness.needs_program("zsh")
    def test_zsh_completes_names_and_values(self):
        other = self.make_two_folders()
        script = self.write("_mvm", self.mvm_ok("completion", "zsh"))
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvpe("zsh", ["zsh", "-f", "-i"], self.environment())
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.close, terminal)
        # a function in mvm's place, which prints its arguments
        os.write(terminal, f"mvm() {{ print -r -- \"<$*>\" }}; autoload -U compinit; compinit -u -D; "
                           f"source {script}; print -r $((6 * 7))\n".encode())
        self.read_until(terminal, "\n42\r\n")
        for typed, called in (
                ("vers", "version"),
                ("run --cold -T w", "run --cold -T web"),
                ("run --restart o", "run --restart on-failure"),
                ("kill -s H", "kill -s HUP"),
                ("template inf", "template info"),
                ("help vers", "help version"),
                ("help template inf", "help template info"),
                (f"--data-dir {other} template info ", f"--data-dir {other} template info db"),
                (f"template info --data-dir {other} ", f"template info --data-dir {other} db")):
            with self.subTest(typed):
                os.write(terminal, f"mvm {typed}\t\n".encode())
                self.read_until(terminal, f"<{called}>\r\n")

    def read_until(self, fd, text):
        seen, deadline = "", time.monotonic() + harness.PATIENCE_S
        while text not in seen:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                self.fail(f"no {text!r} in {seen!r}")
            seen += os.read(fd, 4096).decode(errors="replace")

    def bash_completes(self, *words):
        """The words that bash offers for the last of these words."""
        script = self.write("script", self.mvm_ok("completion", "bash"))
        ask = ('source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mvm; '
               'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", ask, script, *words], text=True, check=True,
                              capture_output=True, env=self.environment(), timeout=300)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    @harness.needs_program("bash")
    def test_bash_completes_commands_options_and_values(self):
        self.assertIn("version", self.bash_completes("mvm", "v"))
        self.assertEqual(self.bash_completes("mvm", "version", "--js"), ["--json"])
        self.assertEqual(self.bash_completes("mvm", "completion", "z"), ["zsh"])
        self.assertEqual(self.bash_completes("mvm", "--data-dir", "x", "vers"), ["version"])
        self.assertEqual(self.bash_completes("mvm", "help", "vers"), ["version"])
        self.assertEqual(self.bash_completes("mvm", "help", "template", "inf"), ["info"])
        self.assertEqual(self.bash_completes("mvm", "help", "template", "info", ""), [])
        self.assertEqual(self.bash_completes("mvm", "template", "inf"), ["info"])
        self.assertEqual(self.bash_completes("mvm", "kill", "-s", "H"), ["HUP"])
        self.assertEqual(self.bash_completes("mvm", "ps", "--filter", "state=r"), ["state=running"])

    @harness.needs_program("bash")
    def test_bash_completes_the_values_of_named_things(self):
        for kind, name in ("kernels", "debian"), ("volumes", "db"), ("templates", "web"):
            os.makedirs(os.path.join(self.data_dir, kind, name))
        self.assertEqual(self.bash_completes("mvm", "kernel", "rm", ""), ["debian"])
        self.assertEqual(self.bash_completes("mvm", "volume", "rm", ""), ["db"])
        self.assertEqual(self.bash_completes("mvm", "volume", "inspect", "d"), ["db"])
        self.assertEqual(self.bash_completes("mvm", "run", "-T", ""), ["web"])
        self.assertEqual(self.bash_completes("mvm", "run", "--restart", "u"), ["unless-stopped"])
        self.assertEqual(self.bash_completes("mvm", "run", "--backend", "q"), ["qemu"])

    def test_every_choice_is_completed_in_every_shell(self):
        scripts = [self.mvm_ok("completion", shell) for shell in ("bash", "zsh", "fish")]
        for command in self.mvm_json("help")["commands"]:
            for option in command["options"] + command["arguments"]:
                for script in scripts if option.get("choices") else []:
                    self.assertIn(" ".join(option["choices"]), script, command["name"])

    @harness.needs_program("bash")
    def test_bash_completes_names_wherever_options_stand(self):
        other = self.path("other")
        for data, instance in ((self.data_dir, "web-1"), (other, "db-1")):
            os.makedirs(os.path.join(data, "instances", instance))
        for words in ((), ("--tail", "20"), ("--tail", "=", "20"), ("-n", "20", "-t")):
            with self.subTest(words):
                self.assertEqual(self.bash_completes("mvm", "logs", *words, ""), ["web-1"])
        self.assertEqual(self.bash_completes("mvm", "logs", "-f", "web-1", ""), [])
        self.assertEqual(self.bash_completes("mvm", "--data-dir", other, "logs", ""), ["db-1"])
        self.assertEqual(self.bash_completes("mvm", "logs", "--data-dir", other, ""), ["db-1"])
        file = self.write("file", "")
        self.assertEqual(self.bash_completes("mvm", "cp", self.path("fi")), [file])


if __name__ == "__main__":
    harness.main()
