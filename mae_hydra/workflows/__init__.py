"""What is done with a run or a checkpoint: evaluate, predict, export, convert, replay."""
