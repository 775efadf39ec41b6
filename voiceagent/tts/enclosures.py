"""What no clause may end inside of: fenced and inline code, formulas, tags. Followed one character after another."""

from voiceagent.tts.normalise.markup import may_be_tag

_LONGEST = 200
"""Characters after which an open formula or tag is taken to be none."""


class Enclosures:
    """Where a stream of Markdown stands.

    Three or more backticks open fenced code, at the head of a line or behind a text on it; three or more tildes only at
    the head. It is closed by as many of the same at the head of a line, or on the line it was opened on. A code block
    that is never closed goes on to the end of the text.
    """

    def __init__(self) -> None:
        self.in_fence = False
        self._in_code = False
        self._fence = ("", 0)
        self._same_line = False
        self._run = ("", 0)
        self._run_counts = True  # a run of marks that opened or closed a fence has done its work
        self._at_head = True
        self._run_at_head = True
        self._previous = ""
        self._formula = ""  # what closes it; '' outside
        self._open = ""  # the formula or tag so far
        self._in_tag = False

    @property
    def inside(self) -> bool:
        return self.in_fence or self._in_code or bool(self._formula) or (self._in_tag and may_be_tag(self._open))

    def push(self, char: str) -> bool:
        """The next character. Returns whether it opens fenced code at the head of its line."""
        opened = False
        if char in "`~":
            opened = self._push_mark(char)
        else:
            self._run = ("", 0)
            if not self.in_fence and not self._in_code:
                self._push_other(char)
        if char == "\n":
            self._at_head, self._same_line, self._in_code = True, False, False
            if self._formula == "$":
                self._formula = ""
        elif not char.isspace() and char not in "`~>":
            self._at_head = False
        self._previous = char
        return opened

    def _push_mark(self, char: str) -> bool:
        mark, count = self._run
        if mark == char:
            count += 1
        else:
            count, self._run_counts, self._run_at_head = 1, True, self._at_head
        self._run = (char, count)
        if not self._run_counts:
            if self.in_fence and count > self._fence[1] and self._fence[0] == char:
                self._fence = self._run  # the opening run grows
            return False
        if self.in_fence:
            if self._run == self._fence and (self._run_at_head or self._same_line):
                self.in_fence, self._run_counts = False, False
            return False
        if char == "`":
            self._in_code = not self._in_code
        if count == 3 and (char == "`" or self._run_at_head):
            self._fence, self.in_fence, self._run_counts = self._run, True, False
            self._in_code, self._formula, self._in_tag = False, "", False
            self._same_line = not self._run_at_head
            return self._run_at_head
        return False

    def _push_other(self, char: str) -> None:
        if self._formula:
            self._open += char
            if self._open.endswith(self._formula) or len(self._open) > _LONGEST:
                self._formula = ""
            return
        if self._in_tag:
            self._open += char
            if char in "<>" or len(self._open) > _LONGEST:
                self._in_tag = False
            return
        pair = self._previous + char
        if pair in ("\\(", "\\[", "$$"):
            self._formula, self._open = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}[pair], ""
        elif self._previous == "$" and (char == "\\" or (char.isascii() and char.isalpha())):
            self._formula, self._open = "$", char
        elif self._previous == "<" and (char in "/!?" or (char.isascii() and char.isalpha())):
            self._in_tag, self._open = True, pair
