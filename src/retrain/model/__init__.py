"""What an owner says of a model, and the model as it is served: model.toml, tables, the artefact."""
