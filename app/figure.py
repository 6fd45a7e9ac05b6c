"A place for a Plotly figure."

import gradio as gr


def figure_place(label: str = '', **how) -> gr.HTML:
    """A component whose value is a figure as JSON, drawn by `figure.js`: Plotly with the traces of two axes, as npm has
    it, is a third of what `gr.Plot` loads, which keeps a page from answering for more than a second"""
    title = f'<p class="figure-title">{label}</p>' if label else ''
    return gr.HTML(html_template=f'{title}<div class="figure"></div>', apply_default_css=False,
                   js_on_load='window.lora_da_bench.figure(element, props, watch)', **how)
