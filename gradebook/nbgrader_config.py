"""nbgrader's configuration: this folder holds the class, the weeks are the folders of the repository.

Run nbgrader's own commands in this folder; `lsdl release` and `lsdl grade` read the same file. What to change for a
class: the time limit below. README.md tells a term in commands.
"""

from pathlib import Path

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.apps.api import NbGraderAPI
from nbgrader.preprocessors import GetGrades

from lsdl.grading.feedback import HideHiddenTests

c = get_config()  # noqa: F821 (traitlets defines it)

gradebook = Path(__file__).resolve().parent
root = gradebook.parent

c.CourseDirectory.course_id = "lsdl"
c.CourseDirectory.root = str(root)
c.CourseDirectory.source_directory = "."
c.CourseDirectory.release_directory = str(Path(gradebook.name) / "release")
c.CourseDirectory.submitted_directory = str(Path(gradebook.name) / "submitted")
c.CourseDirectory.autograded_directory = str(Path(gradebook.name) / "autograded")
c.CourseDirectory.feedback_directory = str(Path(gradebook.name) / "feedback")
c.CourseDirectory.solution_directory = str(Path(gradebook.name) / "solution")
c.CourseDirectory.db_url = f"sqlite:///{(gradebook / 'gradebook.db').as_posix()}"
c.CourseDirectory.notebook_id = "homework"  # a week also holds a seminar, which is no assignment
# Base names that are neither released nor copied beside a submission.
c.CourseDirectory.ignore = [
    "instructor",
    "runs",  # what long trainings leave in the week's folder
    "seminar.ipynb",
    ".ipynb_checkpoints",
    "__pycache__",
    "*.pyc",
    ".DS_Store",
]

c.Execute.timeout = 120  # seconds a cell may run; nbgrader's own 30 is too short on a busy machine

# What is the class's only this user reads; for graders who share the folder as a group, see nbgrader's `groupshared`.
c.Autograde.permissions = c.GenerateFeedback.permissions = 600

# nbgrader's own list, and hidden tests with all they said taken out of what students get back.
c.GenerateFeedback.preprocessors = [GetGrades, HideHiddenTests, CSSHTMLHeaderPreprocessor]

# Both for feedback and for formgrader: what a student wrote or printed runs no script in a reader's browser.
c.HTMLExporter.sanitize_html = True
c.HTMLExporter.preprocessors = ["lsdl.grading.feedback.SafeOutputs"]
c.HTMLExporter.filters = {
    "markdown2html": "lsdl.grading.feedback.safe_markdown",
    "clean_html": "lsdl.grading.feedback.clean_html",
}

# formgrader takes every folder of the repository for an assignment; only weeks are.
_all_assignments = NbGraderAPI.get_source_assignments
if _all_assignments.__name__ != "weeks_only":  # the file may be read several times

    def weeks_only(self: NbGraderAPI) -> set[str]:
        return {
            name for name in _all_assignments(self) if (Path(self.coursedir.root) / name / "homework.ipynb").is_file()
        }

    NbGraderAPI.get_source_assignments = weeks_only
