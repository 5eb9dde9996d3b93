"""The instructor's part of lsdl: student versions, grading, diagnosis. No notebook imports it, students do not get it.

- collect.py: what was handed in: whose it is, where it lies, its bytes; ../intake.py diagnoses and mends a notebook
- autograder.py: submissions to points: workers that run and judge, one recorder that enters them into the gradebook
- zygote.py: the warm process that forks for each submission; kernel.py: the student's kernel; jail.py: its sandbox
- verdict.py: what the judge says of a notebook
- execute.py: one notebook through its kernel; judge.py: graded cells decided from answers, outside the kernel
- competition.py: the pictures of a week's competition and their truth; leaderboard.py: the ranking and its points
- grade.py: a folder of submissions to rows and JSON; terminal_report.py, html_report.py: the same for people
- feedback.py: what nbgrader's feedback leaves out
- release.py: the student version of one homework; publish.py: the student's tree
- examine.py: what is wrong with this machine, or with this notebook
- demo.py: all of it on one week and three example submissions (`make run`)
- nbgrader_course.py: nbgrader's API with the configuration of gradebook/
"""


class GradingError(RuntimeError):
    """Something the instructor can mend; the message is a sentence that says how."""
