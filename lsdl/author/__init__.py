"""The author's part of lsdl: makes and checks weeks. No notebook imports it, students do not get it.

- course.py: course.toml, a week's week.toml, and where everything of a week lies
- homework.py: a homework's tasks, graded cells and functions; references.py: the references of its checks; reach.py: which cells a
  mistake can reach
- opening.py: the generated cells and badges; markers.py, readme.py, times.py: the generated parts of READMEs; packages.py: what weeks need
- lint.py: the rules that weeks keep, lesson.py: the limits of a lesson, problem.py: a broken rule; notebooks.py: notebooks run headlessly
- seminar.py: a seminar's functions outside of it, and what logs and tables hold; ratios.py: benchmarks
- full_scale.py: notebooks at full scale on stand-ins, and what a step at the papers' sizes costs
- data/: what builds the embedded data and trains the small checkpoints
"""
