# cell: standardise
# points:
# Shows HTML and JavaScript; the answer is right, the pages that show it must not run it.
from IPython.display import HTML, Javascript, display

display(HTML("<script>document.title = 'LSDL-XSS'</script><img src=x onerror=\"document.title = 'LSDL-XSS'\">"))
display(Javascript("document.title = 'LSDL-XSS'"))
print("<script>document.title = 'LSDL-XSS'</script>")
print("TRIED")


def standardise(x, eps=1e-5):
    mean = x.mean(dim=0)
    return (x - mean) / torch.sqrt(x.var(dim=0, unbiased=False) + eps)
