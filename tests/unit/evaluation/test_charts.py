import re

from naruto_add.evaluation.charts import Mark, Series, scatter


def test_names_of_neighbours_do_not_run_into_each_other():
    """Of two dots side by side at one height the left one's name ends before it, the right one's begins after it."""
    marks = [Mark(0.04, 1500, "teacher@1"), Mark(1.07, 1399, "teacher@25"), Mark(2.05, 1400, "teacher@50")]
    chart = scatter([Series("teacher", marks)], [], "seconds", "distance")
    names = re.findall(r'<text class="name teacher([^"]*)" x="([\d.]+)" y="[\d.]+">(teacher@\d+)<', chart)
    ends = {name: (end.strip(), float(x)) for end, x, name in names}
    assert ends["teacher@25"][0] == "end"
    assert ends["teacher@50"][0] == ends["teacher@1"][0] == ""
    assert ends["teacher@25"][1] < ends["teacher@50"][1]
