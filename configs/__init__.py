"""Say what a run may be: typed settings, ready recipes, and the road from YAML to both.

Nothing here imports torch, and nothing here knows a task by name: ``options`` belong to the task,
everything else is spelt out in `polyhead.configs.schema`.
"""
