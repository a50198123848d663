"""What "better" means: losses per language, step speed-ups, intervals, and their report.

Losses arrive as sums and counts per held-out page. They are combined per language at the very end:
never a mean of means.

    losses                        sums of pages, and losses by language
    sides, gains                  the runs of one architecture; two of them compared by language
    statistics                    intervals over pages and runs, many languages at once
    speed_up                      fewer steps, and less time, for the same quality
    null_comparison, verdict      what seeds alone make; the sentences of a report
    distillation, further_models  what students keep; pruned and upcycled models
    experts, funnel               which languages use which expert; what cleaning kept
    tasks/                        metrics, scores and gains of fine-tuned runs
    charts/, report/              pictures, and the report as HTML, Markdown, JSON and CSV
"""
