"""Published experiments, run again: ordinary recipes, trained, evaluated and compared as any other."""
