"""The page on which people rate: one question at a time, two answers, three criteria, by mouse, finger or keyboard.

The page keeps nothing but the rater's name and the place of the question; each "next" is one call, which saves the
three votes before it brings the next question. So a rater may close the page at any moment, and a server that is
started again finds its pages where they were.
"""

from __future__ import annotations

import html
from typing import Any

from gpt4_instruct.errors import Gpt4InstructError, UsageError
from gpt4_instruct.evaluation.rating import CRITERIA, Study, View
from gpt4_instruct.evaluation.rating_words import CSS, SCRIPT, WORDS

__all__ = ["app_of"]


def app_of(study: Study, language: str = "en") -> Any:
    """The page as an ASGI application, for any server; `rating_server.guarded` puts it behind a token.

    Args:
        study: what is rated.
        language: of the page's own words, ``"en"`` or ``"zh"``.
    """
    import gradio
    from fastapi import FastAPI

    fonts = ["system-ui", "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
    return gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        _page(study, language),
        path="/",
        footer_links=[],
        show_error=False,
        max_file_size=1,  # nothing is uploaded here
        theme=gradio.themes.Base(font=fonts, font_mono=["monospace"]),  # no font from the network
        css=CSS,
        head=f"<script>{SCRIPT}</script>",
        ssr_mode=False,
    )


def _page(study: Study, language: str) -> Any:
    import gradio as gr

    words = WORDS[language]
    options = [(words["a_better"], "A"), (words["b_better"], "B"), (words["tie"], "tie")]
    with gr.Blocks(title=words["title"], analytics_enabled=False) as page:
        who = gr.Textbox(visible=False)
        place = gr.Number(visible=False, precision=0)
        # The style tells which of these are seen, by what is in them: an update of each would double a call's time.
        with gr.Column(elem_id="entry"):
            gr.HTML(f"<h1>{words['title']}</h1><p>{words['welcome']}</p>")
            name = gr.Textbox(label=words["name"], elem_id="name", max_lines=1)
            begin = gr.Button(words["begin"], variant="primary", elem_id="begin")
        with gr.Column(elem_id="rating"):
            pair = gr.HTML(elem_id="pair")
            radios = [
                gr.Radio(options, label=words[each], info=words[f"{each}_info"], elem_id=each, elem_classes="criterion")
                for each in CRITERIA
            ]
        message = gr.HTML(elem_id="message")
        with gr.Row(elem_id="moves"):
            back = gr.Button(words["back"], elem_id="back", min_width=80)
            onward = gr.Button(words["next"], variant="primary", elem_id="next", min_width=80)
        gr.HTML(f"<p>{words['keys']}</p>", elem_id="keys")
        shown = [who, place, pair, message, *radios]

        def show(rater: str, view: View | None, text: str = "") -> list[Any]:
            """The values of all that is shown, in the order of `shown`."""
            if view is None:
                told = _told(words["done"], "done") if rater else _told(text, "trouble") if text else ""
                return [rater, -1, "", told, *(None for _ in radios)]
            return [rater, view.place, _pair_html(view, rater, words), "", *map(view.choices.get, CRITERIA)]

        def stay(text: str) -> list[Any]:
            """Everything as it is, and a message."""
            return [_told(text, "trouble") if each is message else gr.skip() for each in shown]

        def start(typed: str) -> list[Any]:
            if not typed:  # the page is opened; what may have been typed meanwhile stays
                return [gr.skip() for _ in shown]
            try:
                rater = study.enter(typed)
            except UsageError:
                return show("", None, words["unknown"])
            except Gpt4InstructError:
                return show("", None, words["not_saved"])
            return moved(rater, None)

        def moved(rater: str, to: int | None) -> list[Any]:
            try:
                return show(rater, study.view(rater, to))
            except Gpt4InstructError:
                return stay(words["not_saved"])

        def vote(rater: str, at: int, *choices: str | None) -> list[Any]:
            given = {criterion: choice for criterion, choice in zip(CRITERIA, choices, strict=True) if choice}
            if len(given) < len(CRITERIA):
                return stay(words["choose"])
            try:
                return show(rater, study.vote(rater, int(at), given))
            except Gpt4InstructError:
                return stay(words["not_saved"])

        def go_back(rater: str, at: int) -> list[Any]:
            return moved(rater, max(0, int(at) - 1))

        # Without the queue a call is one plain request; all values are texts and numbers already, as they come and go.
        call: dict[str, Any] = {"outputs": shown, "queue": False, "preprocess": False, "postprocess": False}
        call["show_progress"] = "hidden"
        page.load(
            start, [name], **call, api_name="load", js="() => new URLSearchParams(location.search).get('rater') || ''"
        )
        gr.on([begin.click, name.submit], start, [name], **call, api_name="start").then(
            None, [who], None, js="(who) => keepName(who)"
        )
        onward.click(vote, [who, place, *radios], **call, api_name="vote")
        back.click(go_back, [who, place], **call, api_name="back")
    return page


def _pair_html(view: View, rater: str, words: dict[str, str]) -> str:
    """What is rated; texts exactly as they are, so that nothing in them is taken for part of the page."""
    number = words["number"].format(view.place + 1, view.total)
    about = f"<div class='text input' dir='auto'>{html.escape(view.input)}</div>" if view.input.strip() else ""
    sides = "".join(
        f"<section><h2>{words[name]}</h2><div class='text' dir='auto'>{_text(text, words)}</div></section>"
        for name, text in (("answer_a", view.left), ("answer_b", view.right))
    )
    return (
        f"<div id='place' data-place='{view.place}'><span>{number}</span>"
        f"<span>{html.escape(rater)} · <a href='?'>{words['other_name']}</a></span></div>"
        f"<section class='question'><h2>{words['question']}</h2>"
        f"<div class='text' dir='auto'>{html.escape(view.instruction)}</div>{about}</section>"
        f"<div class='sides'>{sides}</div>"
    )


def _text(text: str, words: dict[str, str]) -> str:
    return html.escape(text) if text.strip() else f"<em>{words['empty']}</em>"


def _told(text: str, kind: str) -> str:
    return f"<p class='{kind}' role='status'>{html.escape(text)}</p>"
