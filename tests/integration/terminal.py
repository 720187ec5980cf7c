"""Drives a shell with job control on its own terminal, and prints the result of each step.

Usage: terminal.py [PREFIX...]. PREFIX is the words before each command. Without PREFIX, the commands run bare.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PREFIX = " ".join(sys.argv[1:])
LIMIT = 30  # seconds, which only a hang can reach


def stop_ignoring_signals():
    """The tests inherit ignored signals if they run in the background of a script or under nohup. A shell cannot trap them."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


class Shell:
    def __init__(self):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(PS1="prompt> ", TERM="dumb")
            stop_ignoring_signals()
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self.text = ""
        self.expect("prompt> ")

    def expect(self, pattern, again=None):
        """Reads until the pattern has come, and returns the match. On a busy machine, bash can miss keys while it hands over
        the terminal. Such keys are typed again."""
        limit = time.monotonic() + LIMIT
        patience = time.monotonic() + LIMIT / 6
        while not (found := re.search(pattern, self.text)):
            if time.monotonic() > limit:
                print("the pattern did not come:", pattern, repr(self.text))
                sys.exit(1)
            if again and time.monotonic() > patience:
                patience = limit
                self.type(again)
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.text += os.read(self.terminal, 4096).decode(errors="replace")
        self.text = self.text[found.end():]
        return found

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def status(self):
        self.type("echo status=$((0+$?))=\n")
        return self.expect(r"status=(\d+)=").group(1)


def hang_up():
    """Takes the terminal away from the leader of its session."""
    told, tell = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        stop_ignoring_signals()
        os.dup2(tell, 9)
        script = "trap 'echo hung up >&9; exit 3' HUP; echo ready >&9; while :; do sleep 0.1; done"
        command = [*sys.argv[1:], "sh", "-c", script]
        os.execvp(command[0], command)
    os.close(tell)
    assert os.read(told, 100) == b"ready\n"
    os.close(terminal)
    print("hang-up:", os.read(told, 100).decode().strip(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def main():
    shell = Shell()
    sleeper = f"{PREFIX} sh -c 'echo ready; exec sleep 50'\n"

    shell.type(sleeper)
    shell.expect(r"[\r\n]ready")
    shell.type("\x03")
    shell.expect("prompt> ", again="\x03")
    print("Ctrl-C:", shell.status())

    shell.type(f"ulimit -c 0; {sleeper}")
    shell.expect(r"[\r\n]ready")
    shell.type("\x1c")
    shell.expect("prompt> ", again="\x1c")
    print("Ctrl-\\:", shell.status())

    shell.type(sleeper)
    shell.expect(r"[\r\n]ready")
    shell.type("\x1a")
    print("Ctrl-Z:", shell.expect(r"\[1\]\+\s+(\w+)").group(1))
    print("after Ctrl-Z:", shell.status())
    shell.type("fg\n")
    shell.expect("sleep 50")
    time.sleep(0.3)
    shell.type("\x1a")
    print("Ctrl-Z again:", shell.expect(r"\[1\]\+\s+(\w+)", again="\x1a").group(1))
    shell.type("bg; sleep 0.3; jobs\n")
    print("bg:", shell.expect(r"\[1\]\+?\s+(Running)").group(1))
    shell.type("kill %1; wait %1\n")
    shell.expect("prompt> ")
    time.sleep(0.3)
    print("killed:", shell.status())

    # A command that counts the signals that it gets. Each must come once.
    count = "import signal,time\\nn=[0,0]\\ndef f(s,_): n[s==28]+=1\\nsignal.signal(2,f);signal.signal(28,f)\\nprint(\"ready\",flush=True)\\nend=time.time()+4\\nwhile time.time()<end: time.sleep(0.05)\\nprint(\"counted\",*n)"
    shell.type(f"{PREFIX} python3 -c $'{count}'\n".replace('\\"', '"'))
    shell.expect(r"[\r\n]ready")
    shell.type("\x03")
    time.sleep(0.4)
    fcntl.ioctl(shell.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    print("interrupts and window changes:", shell.expect(r"counted (\d+ \d+)").group(1))
    shell.expect("prompt> ")
    print("survived:", shell.status())

    shell.type(f"{PREFIX} stty size\n")
    print("size:", shell.expect(r"\n(\d+ \d+)").group(1))
    shell.type(f"{PREFIX} cat & until jobs %1 | grep -q Stopped; do sleep 0.1; done; jobs\n")
    print("reads in the background:", shell.expect(r"\[1\]\+\s+(Stopped)").group(1))
    shell.type("kill -9 %1; wait\n")
    shell.type(f"{PREFIX} sh -c 'read line; echo \"got $line\"'\nhello\n")
    print("reads in the foreground:", shell.expect(r"got (hello)").group(1))
    shell.expect("prompt> ")

    # A signal of the terminal must not be confused with a signal of another sender.
    command = f"{PREFIX} python3 -c $'{count}'\n".replace('\\"', '"')
    shell.type("sh -c 'echo pid=$$=; exec \"$@\"' - " + command)
    pid = int(shell.expect(r"pid=(\d+)=").group(1))
    shell.expect(r"[\r\n]ready")
    for _ in range(2):
        shell.type("\x03")
        time.sleep(0.4)
    os.kill(pid, signal.SIGINT)
    print("interrupts from two sides:", shell.expect(r"counted (\d+ \d+)").group(1))
    shell.expect("prompt> ")
    shell.type("exit\n")
    hang_up()


main()
