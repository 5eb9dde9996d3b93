"""The author's part of lsdl: makes and checks weeks. No notebook imports it, students do not get it.

- course.py: course.toml, a week's week.toml, and where everything of a week lies
- cells.py: the format of a homework: roles and tags of cells, hidden regions, names of checks
- homework.py: a homework's tasks, graded cells and functions; references.py: the references of its checks
- opening.py: the two generated cells; lint.py: the rules that notebooks keep; notebooks.py: notebooks run headlessly
- seminar.py: a seminar's functions outside of it, and the tables that it shows; ratios.py: benchmarks
- full_scale.py: notebooks at full scale on stand-ins, and what a step at the papers' sizes costs
- data/: what builds the embedded data and trains the small checkpoints
"""
