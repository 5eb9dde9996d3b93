"""placeholder"""
from pathlib import Path
DATA = Path(__file__).parent / "emoji"
STYLES = ("noto","noto-v1","twemoji","emojione","openmoji","fluent-flat","fluent-3d","openmoji-black","fluent-high-contrast")
MAKERS = dict(zip(STYLES, ("noto","noto","twemoji","emojione","openmoji","fluent","fluent","openmoji","fluent")))
CLASSES = ("sign","animal","face","person","dish","tool","paper","vehicle","clothing","hand","sky","produce","device","building","sport","music","plant","drink")
PARTS = ("train","val","test")
