"""What "better" means: losses per language, step speed-ups, intervals, and their report.

Losses arrive as sums and counts per held-out page. They are combined per language at the very end:
never a mean of means.

    language_loss           sums of pages, and losses by language
    side, comparison        the runs of one architecture; the numbers of two of them
    statistics/             intervals, step speed-ups, what chance shows
    verdict, distillation   the sentence of a report; what students keep
    tasks/, experts/        scores of fine-tuned runs; which languages use which expert
    cautions                what weakens a report, for its first screen
    charts/, rendering/     pictures, and the report as HTML, Markdown and JSON
"""
