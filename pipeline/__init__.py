"""The commands: one file of `commands/` per command, which runs in a process of its own.

Data, then training, then reading what came out:

    clean       clean.py        web pages -> pages/, rejected/, broken/, manifest.json
    estimate    estimate.py     a sample of web pages -> pages, core-hours and cost (printed)
    score       score.py        a corpus -> pages/: scores of each page, manifest.json
    select      select.py       a corpus, its scores and lists -> a corpus of the pages that stay
    withdraw    withdraw.py     a corpus and a list -> the corpus without these pages
    vocabulary  vocabulary.py   a corpus, or a SentencePiece model -> sentencepiece.model
    tokenize    tokenize.py     corpora and a vocabulary -> token blocks, one folder per language
    pretrain    pretrain.py     a recipe and token blocks -> a run
    finetune    finetune.py     a finished run and tasks -> a run, its predictions by task
    distill     distill.py      a finished run, a dense recipe and its tokens -> a run
    prune       prune.py        a run and languages -> a run with fewer experts, or pieces
    evaluate    evaluate.py     a run and token blocks, or tasks -> RUN/evaluation/step=N.parquet,
                                RUN/tasks/NAME/
    time        time.py         two runs and token blocks -> step_times.json
    report      report.py       runs of a baseline and a candidate -> report.json, report.md,
                                languages.csv, index.html
    fill        fill.py         a run and a text with gaps -> the filled gaps (printed)
    import-hf   import_hf.py    a Transformers T5, mT5 or Switch -> a run at step 0
    export-hf   export_hf.py    a run -> config.json, model.safetensors, spiece.model,
                                tokenizer.json
    plan        plan.py         a recipe and a topology -> memory, time and cost (printed or JSON)
    recipes     recipes.py      -> the named recipes (printed)
    inspect     inspect.py      any artifact -> its checked contents (printed)
    doctor      doctor.py       -> what would stop a run on this machine (printed)
    demo        demo.py         text that installed packages ship -> a corpus, tokens, two runs and
                                their report

A run is a directory: recipe.json, mixture.json, sentencepiece.model, checkpoints/, metrics.jsonl,
time.json, evaluation/, tensorboard/ and, once it is finished, manifest.json.

A command line becomes a command in `cli` and `command_line`. A command declares itself by the types
of `fields`, is checked by `command`, and yields jobs, which describe, lock, claim and finish their
output by `stage` and `artifacts`. Their work has a folder: `corpus/`, `curation/` and `tokens/` on
`beam/`; `training/` and `runs/` with `recipe/` on `hardware/`; `planning/`; `reporting/`.
"""
