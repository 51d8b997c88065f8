//! Reports that name a side, beside views that are mirrored.

use super::{Pairs, mirrored};
use crate::text::Text;
use data_manifests::descriptor::Modality;
use data_manifests::records::OPPOSITES;
use stage::{Context, Message};

impl Pairs {
    /// Says which data sets' views are mirrored along an axis whose sides their reports tell apart; `wanted` are the axes of which they may be.
    pub(crate) fn warn_of_sides(&self, wanted: [bool; 3], context: &Context) {
        for source in &self.sources {
            let descriptor = source.store.descriptor();
            let axes = mirrored(descriptor, wanted);
            // in pictures of electron microscopes up is along y
            let up = if descriptor.modality == Modality::Em { 1 } else { 0 };
            let of_axes = OPPOSITES.iter().zip([2, 1, 0, up]);
            for ((name, _), axis) in of_axes.filter(|(_, axis)| axes[*axis]) {
                let naming: u64 = source.texts.iter().map(|text| text.counted(name)).sum();
                if naming > 0 {
                    let all: usize = source.texts.iter().map(Text::len).sum();
                    let text = format!(
                        "{naming} of {all} reports of {} name {}, and views may be mirrored along {}",
                        descriptor.name,
                        name.replace('_', " "),
                        ["z", "y", "x"][axis]
                    );
                    context.tell(
                        Message::warning("W341", text)
                            .cause("Mirrored views do not fit these reports")
                            .fix("Give --mirror the other axes, or none, or take sides out of the reports"),
                    );
                }
            }
        }
    }
}
