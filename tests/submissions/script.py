# cell: standardise
# points:
from IPython.display import HTML, SVG, Javascript, Markdown, display

display(HTML("<script>alert('MARK-OF-A-SCRIPT')</script><img src=x onerror=alert(1)>"))
display(Javascript("alert('MARK-OF-A-SCRIPT')"))
display(Markdown("<script>MARK-OF-A-SCRIPT</script>"))
display(
    {"image/png": '"><script>MARK-OF-A-SCRIPT</script>', "image/svg+xml": "<svg onload='MARK-OF-A-SCRIPT'/>"}, raw=True
)
display({"text/latex": "<script>MARK-OF-A-SCRIPT</script>", "application/json": {"MARK-OF-A-SCRIPT": 1}}, raw=True)
print("<script>document.title = 'PRINTED-SCRIPT'</script>")
print("TRIED")


def standardise(x: Tensor, eps: float = 1e-5) -> Tensor:
    return (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + eps)
