"""Cards: README.md of a dataset folder and of a trained model.

dataset_card  the card of a dataset: its metadata, and the values of its template
model_card    the card of a trained model
template      fills the templates in hub_cards/
code_blocks   the code that loads a dataset or trains on it
licences      the licence of the result
reproduction  the recipe as a file that runs again
policy_words  what a filter policy does and guarantees
worth         the sentence about what training on the dataset gained
edits         merges the local card with edits on the Hub
text          makes text from elsewhere safe in Markdown
"""
