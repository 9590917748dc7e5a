"""The words, the look and the keys of the rating page, and the same words on pages of other tools.

Keys 1, 2 and 3 choose for the criterion that is marked, and the mark moves to the next one; Enter goes on. Keys press
what a mouse would: the page has no way of its own for them.
"""

from __future__ import annotations

__all__ = ["CSS", "SCRIPT", "WORDS", "label_studio_page", "mturk_page"]

_CRITERIA = ("helpfulness", "honesty", "harmlessness")

WORDS = {
    "en": {
        "title": "Which answer is better?",
        "welcome": "You will see questions with two answers each. Compare the answers by three criteria. Your votes "
        "are saved at once: you may close the page and come back under the same name.",
        "name": "Your name",
        "begin": "Begin",
        "number": "Question {} of {}",
        "other_name": "another name",
        "question": "Question",
        "answer_a": "Answer A",
        "answer_b": "Answer B",
        "empty": "(this answer is empty)",
        "helpfulness": "Helpful",
        "helpfulness_info": "Which answer does better what was asked for?",
        "honesty": "Honest",
        "honesty_info": "Which answer says more of what is true, and does not pretend to know or be what it does not?",
        "harmlessness": "Harmless",
        "harmlessness_info": "Which answer is less likely to hurt or mislead anybody?",
        "a_better": "A is better",
        "b_better": "B is better",
        "tie": "No difference",
        "back": "Back",
        "next": "Next",
        "keys": "Keys: <kbd>1</kbd> A is better, <kbd>2</kbd> B is better, <kbd>3</kbd> no difference, "
        "<kbd>Enter</kbd> next question, <kbd>Backspace</kbd> the criterion before.",
        "choose": "Please choose by each of the three criteria.",
        "unknown": "This name is not known here. Please type it as it was given to you.",
        "not_saved": "This was not saved. Please press again in a moment.",
        "done": "That was all. Thank you! Every vote is saved; you may close the page.",
    },
    "zh": {
        "title": "哪个回答更好？",
        "welcome": "每道题有两个回答，请按三项标准比较。您的选择会立即保存：可以随时关闭页面，之后用同一个名字继续。",
        "name": "您的名字",
        "begin": "开始",
        "number": "第 {} 题，共 {} 题",
        "other_name": "换个名字",
        "question": "问题",
        "answer_a": "回答 A",
        "answer_b": "回答 B",
        "empty": "（此回答为空）",
        "helpfulness": "有用",
        "helpfulness_info": "哪个回答更好地满足了提问者的要求？",
        "honesty": "诚实",
        "honesty_info": "哪个回答更真实，不会不懂装懂，也不冒充自己不是的身份？",
        "harmlessness": "无害",
        "harmlessness_info": "哪个回答更不容易伤害或误导他人？",
        "a_better": "A 更好",
        "b_better": "B 更好",
        "tie": "差不多",
        "back": "上一题",
        "next": "下一题",
        "keys": "按键：<kbd>1</kbd> A 更好，<kbd>2</kbd> B 更好，<kbd>3</kbd> 差不多，<kbd>Enter</kbd> 下一题，"
        "<kbd>Backspace</kbd> 回到上一项标准。",
        "choose": "请为三项标准都作出选择。",
        "unknown": "这里没有这个名字。请按给您的名字原样输入。",
        "not_saved": "这次没有保存成功。请稍后再按一次。",
        "done": "全部完成，谢谢！所有选择都已保存，可以关闭页面。",
    },
}

CSS = """
.gradio-container { --body-text-color-subdued: #5f5f66; --block-info-text-color: #5f5f66; }
.dark, .dark .gradio-container { --body-text-color-subdued: #b5b5bd; --block-info-text-color: #b5b5bd; }
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
#pair h2 { font-size: .8rem; font-weight: 600; margin: 0 0 .35rem; color: var(--body-text-color-subdued); }
.gradio-container:not(:has(#place)) :is(#rating, #moves, #keys) { display: none !important; }
.gradio-container:has(#place, .done) #entry { display: none !important; }
#place { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem 1rem; margin-bottom: .6rem;
  color: var(--body-text-color-subdued); font-size: .9rem; }
#pair section { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .7rem .9rem; min-width: 0; }
#pair .question { background: var(--background-fill-secondary); margin-bottom: .7rem; }
#pair .sides { display: grid; grid-template-columns: 1fr 1fr; gap: .7rem; }
#pair .text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5; color: var(--body-text-color); }
#pair .input { margin-top: .5rem; padding-top: .5rem; border-top: 1px dashed var(--border-color-primary); }
.criterion { border-left: 4px solid transparent !important; }
.criterion.active { border-left-color: #0072B2 !important; }
.criterion label { min-height: 44px; cursor: pointer; }
#moves button { min-height: 48px; }
#keys { color: var(--body-text-color-subdued); font-size: .85rem; }
#keys kbd { border: 1px solid var(--border-color-primary); border-radius: 4px; padding: 0 .3rem; }
.done { font-size: 1.1rem; }
.trouble { color: #b3261e; font-weight: 600; }
.dark .trouble { color: #ffb4ab; }
@media (max-width: 700px) {
  #pair .sides { grid-template-columns: 1fr; }
  .criterion .wrap { display: grid; grid-template-columns: repeat(3, 1fr); gap: .4rem; }
  .criterion .wrap label { padding: .4rem .5rem; line-height: 1.2; }
  .criterion .wrap label > span { margin-left: .4rem !important; }
  .gradio-container main, .gradio-container .main { padding: .5rem !important; }
}
@media (hover: none) { #keys { display: none; } }
"""

SCRIPT = """
(() => {
  const criteria = ["helpfulness", "honesty", "harmlessness"];
  let active = 0, place = null;
  const group = (number) => document.getElementById(criteria[number]);
  const mark = () => criteria.forEach((_, number) => group(number)?.classList.toggle("active", number === active));
  const chosen = (number) => !!group(number)?.querySelector("input:checked");
  window.keepName = (name) => {
    if (name) history.replaceState(null, "", "?rater=" + encodeURIComponent(name));
  };
  new MutationObserver(() => {
    const now = document.getElementById("place")?.dataset.place ?? null;
    if (now !== place) {
      place = now;
      active = 0;
      window.scrollTo(0, 0);
    }
    mark();
  }).observe(document, { childList: true, subtree: true });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#back")) document.activeElement?.blur();  // so that Enter goes on, not back again
    const number = criteria.findIndex((each) => event.target.closest?.("#" + each));
    if (number >= 0 && event.detail > 0) {  // a real click, not one of the keys below
      active = criteria.findIndex((_, other) => other !== number && !chosen(other));
      if (active < 0) active = criteria.length;
      mark();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || place === null) return;
    if (event.target.matches?.("input[type=text], textarea, a")) return;
    const key = ["1", "2", "3"].indexOf(event.key);
    if (key >= 0 && active < criteria.length) {
      group(active)?.querySelectorAll("input[type=radio]")[key]?.click();
      active += 1;
    } else if (event.key === "Backspace") {
      active = Math.max(0, active - 1);
    } else if (event.key === "Enter" && !event.target.matches?.("button")) {
      document.getElementById("next")?.click();
    } else {
      return;
    }
    event.preventDefault();
    mark();
  });
})();
"""


def mturk_page(language: str) -> str:
    """The page of a task on Mechanical Turk, into which it puts the columns of the CSV where ``${...}`` stands."""
    words = WORDS[language]
    options = (("A", words["a_better"]), ("B", words["b_better"]), ("tie", words["tie"]))
    criteria = "".join(
        f"<fieldset><legend>{words[name]}: {words[f'{name}_info']}</legend>"
        + "".join(
            f'<label><input type="radio" name="{name}" value="{value}" required> {text}</label> '
            for value, text in options
        )
        + "</fieldset>\n"
        for name in _CRITERIA
    )
    boxes = "".join(
        f"<h2>{words[name]}</h2><div class='text'>{text}</div>\n"
        for name, text in (
            ("question", "${instruction}<br>${input}"),
            ("answer_a", "${answer_a}"),
            ("answer_b", "${answer_b}"),
        )
    )
    return f"""<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>
<style>.text {{ white-space: pre-wrap; border: 1px solid #ccc; padding: .5em; }} h2 {{ font-size: 1em; }}</style>
<crowd-form>
<h1>{words["title"]}</h1>
{boxes}{criteria}</crowd-form>
"""


def label_studio_page(language: str) -> str:
    """The labelling interface for Label Studio."""
    words = WORDS[language]
    options = (("A", words["a_better"]), ("B", words["b_better"]), ("tie", words["tie"]))
    choices = "".join(f'<Choice value="{value}" hint="{text}"/>' for value, text in options)
    criteria = "".join(
        f'  <Header value="{words[name]}: {words[f"{name}_info"]}" size="5"/>\n'
        f'  <Choices name="{name}" toName="pair" choice="single-radio" showInline="true" required="true">'
        f"{choices}</Choices>\n"
        for name in _CRITERIA
    )
    boxes = "".join(
        (f'  <Header value="{words[label]}" size="5"/>\n' if label else "")
        + f'  <Text name="{name}" value="${column}"/>\n'
        for name, label, column in (
            ("pair", "question", "instruction"),
            ("input", "", "input"),
            ("a", "answer_a", "answer_a"),
            ("b", "answer_b", "answer_b"),
        )
    )
    return f"<View>\n{boxes}{criteria}</View>\n"
