"""The report of a recorded result: a page, Markdown, plots and checks."""
