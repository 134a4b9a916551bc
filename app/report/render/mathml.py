"""Turns LaTeX into MathML, which a browser draws without a script; LaTeX that has no MathML form stays as text."""

import html
import re
from typing import Any

LONGEST_FORMULA = 5_000  # characters
UNKNOWN_COMMAND = re.compile(r">\s*(\\[A-Za-z]+)")
TEXT_ARGUMENT = re.compile(r"\\(?:text|mbox|textrm|textbf|textit|textsf|texttt|operatorname)\s*\{[^{}]*\}")
MASKS = {"<": "\ue000", ">": "\ue001", "&": "\ue002"}  # the converter copies the text of \text{...} without escaping
MASK, UNMASK = str.maketrans(MASKS), str.maketrans({mask: html.escape(char) for char, mask in MASKS.items()})
DELIMITERS = (("$$", "$$"), (r"\[", r"\]"), ("$", "$"), (r"\(", r"\)"))

# A dollar before a space or a digit after the second dollar is money, as in pandoc.
INLINE_MATH = r"(?P<math_fence>\$\$?)(?=[^\s$])(?P<math_text>(?:\\[\s\S]|[^$\\`])+?)(?<![\s\\])(?P=math_fence)(?![\d$])"
BLOCK_MATH = (
    r"^ {0,3}(?:\$\$[ \t]*(?P<math_lines>(?:\\[\s\S]|[^$\\])+?)\$\$[ \t]*$"
    r"|(?P<math_environment>\\begin\{(?P<math_name>[a-z]+\*?)\}[\s\S]+?\\end\{(?P=math_name)\})[ \t]*$)"
)


def math_to_html(latex: str, *, display: bool) -> str:
    """Convert one formula; `display` gives it a line of its own."""
    tag = "div" if display else "span"
    try:
        return f'<{tag} class="math">{convert_latex(latex, display)}</{tag}>'
    except Exception as error:  # the converter raises IndexError and others for malformed LaTeX
        reason = str(error) if isinstance(error, ValueError) else f"malformed ({type(error).__name__})"
        note = f'<span class="left">LaTeX shown as text, because it is {html.escape(reason)}</span>'
        return f'<{tag} class="math"><code>{html.escape(latex.strip())}</code> {note}</{tag}>'


def convert_latex(latex: str, display: bool) -> str:
    """Convert one formula, or raise: ValueError says what the formula has that MathML output lacks."""
    from latex2mathml.converter import convert

    if len(latex) > LONGEST_FORMULA:
        raise ValueError(f"longer than {LONGEST_FORMULA:,} characters")
    masked = TEXT_ARGUMENT.sub(lambda found: found[0].translate(MASK), latex.strip())
    made = str(convert(masked, display="block" if display else "inline"))
    if unknown := UNKNOWN_COMMAND.search(made):
        raise ValueError(f"using {unknown[1]}, which has no MathML form here")
    return made.translate(UNMASK)


def latex_output_to_html(latex: str) -> str:
    """Convert a cell's LaTeX output: one formula, with or without its dollars."""
    latex = latex.strip()
    for start, end in DELIMITERS:
        if latex.startswith(start) and latex.endswith(end) and len(latex) > len(start + end):
            return math_to_html(
                latex[len(start) : -len(end)], display=start in ("$$", r"\[") or "displaystyle" in latex
            )
    return math_to_html(latex, display=True)


def register_math(parser: Any) -> None:
    """Teach a mistune parser formulas: $...$, $$...$$ and LaTeX environments."""
    parser.inline.register("inline_math", INLINE_MATH, parse_inline, before="escape")
    parser.block.register("block_math", BLOCK_MATH, parse_block, before="list")
    if parser.renderer:
        parser.renderer.register("inline_math", lambda _, text, fence: math_to_html(text, display=fence == "$$"))
        parser.renderer.register("block_math", lambda _, text: f"{math_to_html(text, display=True)}\n")


def parse_inline(_: Any, found: re.Match[str], state: Any) -> int:
    """Make a token of a formula within a line."""
    token = {"type": "inline_math", "raw": found["math_text"], "attrs": {"fence": found["math_fence"]}}
    state.append_token(token)
    return found.end()


def parse_block(_: Any, found: re.Match[str], state: Any) -> int:
    """Make a token of a formula on lines of its own."""
    state.append_token({"type": "block_math", "raw": found["math_lines"] or found["math_environment"]})
    return found.end() + 1
