"""JupyterLab and Voila in a real browser: what a reader's mouse and keyboard meet."""
