"""Cards: README.md of a dataset folder and of a trained model.

dataset_card  the card of a dataset: its metadata, and the values of its template
model_card    the card of a trained model
template      fills the templates in hub_cards/
code_blocks   the code on a card that loads a dataset or trains on it
licences      computes the licence of the result
reproduction  the recipe on a card, as a file that runs again
policy_words  describes a filter policy and its guarantee
worth         the sentence on a card about the gain from training on the dataset
edits         merges the local card with edits made on the Hub
text          escapes text in Markdown
"""
