"""What each pass is worth: measured on an engine, judged on tasks with labels."""
