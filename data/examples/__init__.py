"""From token blocks to training examples: mixture, schedule, order, span corruption, loader."""
