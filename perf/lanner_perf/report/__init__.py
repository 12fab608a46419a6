"""The one report: a page, Markdown, plots and checks, all made of a recorded result."""
