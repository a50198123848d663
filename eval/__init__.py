"""What "better" means: losses per language, step speed-ups, intervals, and their report.

Losses arrive as sums and counts per held-out page. They are combined per language at the very end:
never a mean of means.

    losses                    sums of pages, and losses by language
    compare                   one comparison of two groups by any metric: gains, means, verdicts
    statistics                intervals over pages and runs, many languages at once
    sides, gains, groups      runs of one architecture; two of them by language; those of a report
    speed_up                  fewer steps, and less time, for the same quality
    null_comparison           what seeds alone make
    paired_runs               both sides' runs as runs: pairs of seeds, exact tests
    distillation              what students keep of a gain
    experts, funnel           which languages use which expert; what cleaning kept
    tasks/                    metrics, scores and gains of fine-tuned runs
    verdict                   the sentences of a report
    columns                   tables, each once for JSON, CSV, Markdown and the page
    charts/, report/          pictures, and the report as HTML, Markdown, JSON and CSV
"""
