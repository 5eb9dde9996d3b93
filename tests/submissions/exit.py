# cell: standardise
# points: standardise_value standardise_constant
# Calls exit as a script would: the notebook goes on without what the cell should have defined.
import sys

print("TRIED")
sys.exit()
