"""The main job's organs: what is judged on, what was done already, the judging, the table and the page."""
