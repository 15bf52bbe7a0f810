"""Parts of loading a configuration: YAML, paths, mistakes, and the files of runs and campaigns."""
